// What a codec makes of text: steps, and back.

const CLOSING = new Set([..."),.;:!?]…"]);
const SINGLE = "\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const LETTER = `(?![${SINGLE}])[\\p{L}\\p{N}_]`;
const MORE = `(?:${LETTER}|[\\p{M}\\u200c\\u200d]){0,64}`;
const TOKEN = `( ?)(${LETTER}${MORE}(?:['’]${LETTER}${MORE})?)|(.)`;

const BEGINS_WORD = new RegExp(`^${LETTER}`, "u");

function isWord(token) {
  return token === "<unk>" || BEGINS_WORD.test(token);
}

function impliesSpace(token) {
  return CLOSING.has(token) || isWord(token);
}

// The tokens of a text, as in charrnn/media/text/tokens.py: a space before a word is implied.
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
  constructor({ name, symbols, end, start, normalize = "none" }) {
    Object.assign(this, { name, symbols, end, start, normalize });
    this.index = new Map(symbols.map((symbol, step) => [step === end ? null : symbol, step]));
  }

  // The steps of a text, and what is not in the vocabulary.
  encode(text) {
    if (this.name === "byte") return { steps: [...new TextEncoder().encode(text)], unknown: [] };
    return this.lookUp(this.symbolsOf(text));
  }

  symbolsOf(text) {
    return this.name === "word" ? [...tokens(text)] : [...text];
  }

  lookUp(symbols) {
    const [steps, unknown] = [[], new Set()];
    for (const symbol of symbols) {
      const step = this.index.get(symbol);
      if (step === undefined) unknown.add(symbol);
      if (step !== undefined || this.name === "word") steps.push(step ?? 0);
    }
    return { steps, unknown: [...unknown] };
  }

  // What the network reads to continue a text, what of it is not in the vocabulary, and a decoder
  // for what follows; as `primed` in charrnn/media/text/.
  primed(text) {
    const normal = this.normalize === "none" ? text : text.normalize(this.normalize);
    const decoder = new Decoder(this);
    let read = null;
    if (this.name === "word") {
      const found = this.symbolsOf(normal);
      if (found.length > 1 && found.at(-1) === " " && impliesSpace(found.at(-2))) {
        found.pop();
        decoder.isSpaced = true; // this space is the one before the next word
      }
      decoder.before = found.at(-1) ?? "";
      read = this.lookUp(found);
    }
    read ??= this.encode(normal);
    const begins = !read.steps.length || this.end !== null;
    return { ...read, steps: begins ? [...this.start, ...read.steps] : read.steps, decoder };
  }
}

// Turns steps into text; `push` gives what a step completes, which may be nothing.
class Decoder {
  constructor(codec) {
    this.codec = codec;
    this.before = "";
    this.isSpaced = false;
    this.utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  }

  push(step) {
    const { name, symbols } = this.codec;
    if (name === "byte") return this.utf8.decode(Uint8Array.of(step), { stream: true });
    const symbol = symbols[step];
    if (name !== "word") return symbol;
    const space = !this.isSpaced && isWord(symbol) && impliesSpace(this.before) ? " " : "";
    [this.before, this.isSpaced] = [symbol, false];
    return space + symbol;
  }
}
