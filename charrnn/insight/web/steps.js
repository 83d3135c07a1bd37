// A codec that also says what stands for each step of a text.
class StepCodec extends Codec {
  constructor(given) {
    super(given);
    this.labels = given.labels;
    this.canType = given.can_type || this.name === "word";
    // A typed line end is the end of a document, if there are documents without line ends.
    if (this.end !== null && !this.index.has("\n")) this.index.set("\n", this.end);
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
