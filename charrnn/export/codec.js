// What a codec makes of text: symbols, and back.

const CLOSING = new Set([..."),.;:!?]…"]);
const SINGLE = "\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const LETTER = `(?![${SINGLE}])[\\p{L}\\p{N}_]`;
const MORE = `(?:${LETTER}|[\\p{M}\\u200c\\u200d]){0,64}`;
const TOKEN = `( ?)(${LETTER}${MORE}(?:['’]${LETTER}${MORE})?)|(.)`;

function isWord(token) {
  return token === "<unk>" || new RegExp(`^${LETTER}`, "u").test(token);
}

function impliesSpace(token) {
  return CLOSING.has(token) || isWord(token);
}

// The tokens of a text, as in charrnn/media/text/word.py: a space before a word is implied.
function* tokens(text) {
  let before = "";
  for (const [, space, word, other] of text.matchAll(new RegExp(TOKEN, "gsu"))) {
    if (word !== undefined) {
      if (!impliesSpace(before) && space) yield space;
      if (impliesSpace(before) && !space) yield "";
    }
    before = word ?? other;
    yield before;
  }
}

class Codec {
  constructor({ name, symbols, labels, end, start, can_type: canType }) {
    Object.assign(this, { name, symbols, labels, end, start });
    this.index = new Map(symbols.map((symbol, step) => [symbol, step]));
    this.canType = canType || name === "word";
  }

  // The steps of a typed text, and what is not in the vocabulary.
  encode(text) {
    if (this.name === "byte") return { steps: [...new TextEncoder().encode(text)], unknown: [] };
    const [steps, unknown] = [[], new Set()];
    for (const symbol of this.name === "word" ? tokens(text) : text) {
      const isEnd = symbol === "\n" && this.end !== null && !this.index.has("\n");
      const step = isEnd ? this.end : this.index.get(symbol);
      if (step === undefined) unknown.add(symbol);
      if (step !== undefined || this.name === "word") steps.push(step ?? 0);
    }
    return { steps, unknown: [...unknown] };
  }

  label(step) {
    return visible(this.labels[step] ?? step);
  }

  // What stands in the text for each step.
  written(steps) {
    if (this.name === "byte") return this.characters(steps);
    let before = "";
    return steps.map((step) => {
      const symbol = this.symbols[step];
      const space = this.name === "word" && isWord(symbol) && impliesSpace(before) ? " " : "";
      before = symbol;
      if (step === this.end) return `${this.label(step)}\n`;
      if (this.name !== "word" && this.name !== "char") return `${this.label(step)} `;
      return space + shown(symbol);
    });
  }

  // Bytes: the first of a character stands for it, the others are dots.
  characters(steps) {
    const written = steps.map((step) => (step === this.end ? `${this.label(step)}\n` : "·"));
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    for (let at = 0; at < steps.length; at++) {
      const lead = steps[at];
      if (lead === this.end) continue;
      const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
      const bytes = steps.slice(at, at + length);
      try {
        written[at] = shown(decoder.decode(Uint8Array.from(bytes)));
        at += length - 1;
      } catch {
        written[at] = "\ufffd";
      }
    }
    return written;
  }
}

function shown(symbol) {
  if (symbol === "\n") return "↵\n";
  return symbol === "" ? "‿" : visible(symbol);
}
