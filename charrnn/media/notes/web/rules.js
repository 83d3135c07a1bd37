// Which events may follow those so far, so that every sample is a valid tune; as
// charrnn/media/notes/grammar.py.  A part is its index in the order in which parts stand at one
// position.

const MOST_BACK = 64; // bars
const MOST_PARTS = 15; // MIDI channels besides that of the drums

newRules = (codec) => new TuneRules(codec);

class TuneRules {
  constructor({ events, parts, part, oneMetre, repeats, mostBacks }) {
    Object.assign(this, { events, parts, constant: part, oneMetre, repeats });
    this.mostBacks = mostBacks ?? Infinity; // bars in a row that equal earlier ones
    this.kinds = new Set(events.map(([kind]) => kind));
    const lowest = (kind) =>
      events.reduce((least, [own, value]) => (own === kind ? Math.min(least, value) : least), 128);
    this.lowest = { note: lowest("note"), drum: lowest("drum") };
    this.reset();
  }

  reset() {
    this.last = "end";
    this.bars = []; // length in grid steps, and whether it has notes
    this.barStep = null; // that of the first bar
    this.backs = 0; // in a row
    this.at = -1;
    this.part = this.constant;
    this.hasTempo = !this.kinds.has("tempo");
    this.used = new Set(); // parts in the tune
    this.state = this.parts.map(() => ({ velocity: null, length: null }));
    this.pitch = 128; // of the last note here, in this part
    this.latest = -1; // the last part that has a note here
  }

  add(step) {
    const [kind, value] = this.events[step];
    this.last = kind;
    if (kind === "end") this.reset();
    else if (kind === "bar") {
      this.begin({ length: value[2], hasNotes: false });
      this.barStep ??= step;
      this.backs = 0;
    } else if (kind === "back") {
      this.begin({ ...(this.bars.at(-value) ?? { length: 0, hasNotes: false }) });
      this.backs++;
    } else if (kind === "tempo") this.hasTempo = true;
    else if (kind === "at") Object.assign(this, { at: value, pitch: 128, latest: -1 });
    else if (kind === "part") Object.assign(this, { part: value, pitch: 128 });
    else if (this.part !== null) {
      if (kind in this.state[this.part]) this.state[this.part][kind] = value;
      else this.sound(value);
    }
  }

  begin(bar) {
    this.bars.push(bar);
    this.at = -1;
  }

  sound(pitch) {
    Object.assign(this, { pitch, latest: this.part });
    this.used.add(this.part);
    if (this.bars.length) this.bars.at(-1).hasNotes = true;
  }

  // Changes the logits, (V,): what may not come next, and how likely bars come back.
  restrict(logits) {
    this.allowed().forEach((isAllowed, step) => {
      if (!isAllowed) logits[step] = -Infinity;
    });
    this.favour(logits);
  }

  // Changes the logits, (V,): the odds of bars that equal an earlier one over new ones.  At
  // temperature 1 any bar together stays as likely as before.
  favour(logits) {
    if (!this.repeats) return;
    const isBar = ([kind]) => kind === "bar" || kind === "back";
    const bars = [...this.events.keys()].filter((step) => isBar(this.events[step]));
    const most = Math.max(...bars.map((step) => logits[step]));
    if (!Number.isFinite(most)) return;
    let [before, after] = [0, 0];
    for (const step of bars) {
      const added = this.events[step][0] === "back" ? this.repeats : 0;
      before += Math.exp(logits[step] - most);
      logits[step] += added;
      after += Math.exp(logits[step] - most);
    }
    for (const step of bars) logits[step] += Math.log(before / after);
  }

  // Whether each event may come next, (V,).
  allowed() {
    const tests = this.tests();
    return Uint8Array.from(this.events, ([kind, value], step) => tests[kind]?.(value, step) ?? 0);
  }

  // For each kind that may come next, which values may.
  tests() {
    const { last } = this;
    const any = () => true;
    const isStart = last === "end" || last === "tempo";
    if (isStart && !this.hasTempo) return { tempo: any };
    const isNote = last === "note" || last === "drum";
    const isBar = last === "bar" || last === "back";
    const may = {};
    if (isStart || isNote || isBar) {
      may.bar = (_, step) => !this.oneMetre || this.barStep === null || step === this.barStep;
      may.back = (value) =>
        value <= MOST_BACK && this.backs < this.mostBacks && this.bars.at(-value)?.hasNotes;
    }
    if (isNote || isBar) may.end = may.tempo = any;
    if (isNote || last === "bar") {
      const length = this.bars.at(-1)?.length ?? 0;
      may.at = (value) => value > this.at && value < length;
    }
    if (isNote || last === "at") {
      const melodic = [...this.used].filter((part) => !this.isDrum(part)).length;
      may.part = (part) =>
        part > this.latest &&
        part !== this.part &&
        (this.isDrum(part) || this.used.has(part) || melodic < MOST_PARTS);
    }
    const isOpen = isNote || ["at", "part", "velocity", "length"].includes(last);
    return isOpen && this.part !== null ? { ...may, ...this.ofThisPart() } : may;
  }

  isDrum(part) {
    return this.parts[part][2];
  }

  ofThisPart() {
    const { velocity, length } = this.state[this.part];
    const kind = this.isDrum(this.part) ? "drum" : "note";
    const may = {};
    if (this.lowest[kind] >= this.pitch) return may; // no note could follow
    if (this.last !== "velocity" && this.last !== "length") {
      may.velocity = (value) => value !== velocity;
    }
    if (velocity === null && this.kinds.has("velocity")) return may;
    if (this.last !== "length") may.length = (value) => value !== length;
    if (length !== null) may[kind] = (value) => value < this.pitch;
    return may;
  }
}
