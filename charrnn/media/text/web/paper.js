// Where the text stands: a sheet, in which one types as well, or a list of texts.  A piece of text
// is what one step adds to it: { text, nats }; what was typed has no nats.

const MOST_PRIME = 10_000; // characters that the network reads before it goes on
const MOST_COLOURED = 20_000; // pieces
const textOf = (pieces) => pieces.map(({ text }) => text).join("");

function textField(placeholder, input) {
  const about = { id: "beginning", "aria-describedby": "left-out", placeholder, input };
  const manners = { lang: "", dir: "auto", rows: 2, spellcheck: false, autocapitalize: "off" };
  return make("textarea", about, manners);
}

// Adds pieces to an element; full: nats that have the full colour, 0: nothing is coloured.
function put(element, pieces, full) {
  const add = (text) => {
    if (element.lastChild?.nodeType === Node.TEXT_NODE) element.lastChild.appendData(text);
    else element.append(text);
  };
  if (!full) {
    add(textOf(pieces));
    return;
  }
  for (const { text, nats } of pieces) {
    if (nats === undefined) {
      add(text);
      continue;
    }
    const span = make("span.step", text);
    span.style.setProperty("--amount", Math.min(1, nats / full).toFixed(2));
    element.append(span);
  }
}

// Changes an element that is scrolled, and stays at its end if it was there.
function following(element, change) {
  const isAtEnd = element.scrollTop + element.clientHeight > element.scrollHeight - 30;
  change();
  if (isAtEnd) element.scrollTop = element.scrollHeight;
}

// The field has the text.  Under it, in the same place, the same text stands once more: it gives
// the field its height, and has the colours.
class Sheet {
  constructor(edited) {
    this.pieces = [];
    this.full = 0;
    this.stays = false; // the cursor, where it is while text is added
    this.field = textField("Begin a text here, or let the network begin", () => {
      this.keepUnchanged();
      edited();
    });
    this.under = make("div.under", { "aria-hidden": true });
    this.element = make("div.sheet", make("div.layers", this.under, this.field));
  }

  get text() {
    return this.field.value;
  }

  set text(text) {
    this.field.value = text;
    this.field.setSelectionRange(this.text.length, this.text.length);
    this.keepUnchanged();
  }

  // What the network reads before it writes: all that stands before the cursor.
  get prime() {
    return this.text.slice(0, this.field.selectionEnd).slice(-MOST_PRIME);
  }

  get isAtEnd() {
    return this.field.selectionEnd === this.text.length;
  }

  get isWritten() {
    return this.pieces.some(({ nats }) => nats !== undefined);
  }

  // What was typed last.
  get typed() {
    return textOf(this.pieces.slice(-1).filter(({ nats }) => nats === undefined));
  }

  // Leaves out what stands after the cursor.
  cut() {
    this.text = this.text.slice(0, this.field.selectionEnd);
  }

  // Makes the pieces those of the text in the field: what differs from before was typed.
  keepUnchanged() {
    const { text, pieces } = this;
    let [at, kept] = [0, 0];
    while (kept < pieces.length && text.startsWith(pieces[kept].text, at)) {
      at += pieces[kept].text.length;
      kept++;
    }
    pieces.length = kept;
    if (at < text.length) pieces.push({ text: text.slice(at) });
    this.paint();
  }

  add(_, pieces) {
    this.pieces.push(...pieces);
    if (this.pieces.length > 2 * MOST_COLOURED) {
      const old = this.pieces.splice(0, this.pieces.length - MOST_COLOURED);
      this.pieces.unshift({ text: textOf(old), nats: 0 }); // it has no colours any more
    }
    following(this.element, () => {
      const end = this.text.length;
      const isAtEnd = this.isAtEnd && !this.stays;
      this.field.setRangeText(textOf(pieces), end, end, isAtEnd ? "end" : "preserve");
      if (this.full && this.under.childNodes.length > 2 * MOST_COLOURED) this.paint();
      else put(this.under, pieces, this.full);
    });
  }

  paint() {
    const plain = Math.max(0, this.pieces.length - MOST_COLOURED);
    this.under.replaceChildren();
    put(this.under, this.pieces.slice(0, plain), 0);
    put(this.under, this.pieces.slice(plain), this.full);
  }
}

class List {
  constructor(edited) {
    this.texts = []; // their pieces and elements
    this.full = 0;
    this.field = textField("Begin all of them with this, or leave it empty", edited);
    this.list = make("ol.texts", { lang: "", tabindex: 0, "aria-label": "What was written" });
    this.element = make("div", this.field, this.list);
  }

  get text() {
    return this.texts.map(({ pieces }) => textOf(pieces)).join("\n");
  }

  set text(text) {
    this.field.value = text;
  }

  get prime() {
    return this.field.value.slice(0, MOST_PRIME);
  }

  get typed() {
    return this.prime;
  }

  cut() {
    this.texts = [];
    this.list.replaceChildren();
  }

  // Adds pieces to the text with this index, which begins with what was typed.
  add(index, pieces, prime) {
    following(this.list, () => {
      if (!this.texts[index]) {
        const element = make("li", { dir: "auto" });
        this.texts[index] = { element, pieces: [] };
        this.list.append(element);
        if (prime) this.add(index, [{ text: visible(prime) }]);
      }
      const text = this.texts[index];
      text.pieces.push(...pieces);
      put(text.element, pieces, this.full);
    });
  }

  paint() {
    for (const { element, pieces } of this.texts) {
      element.replaceChildren();
      put(element, pieces, this.full);
    }
  }
}
