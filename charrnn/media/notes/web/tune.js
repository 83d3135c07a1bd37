// Tunes: from events, to events, and as MIDI files.  A part is its index among those of the model;
// times are in grid steps, or in seconds at the tempo of the tune.

const MOST_LENGTH = 768; // grid steps of a note

// Grows event by event, as the Decoder of charrnn/media/notes/events.py; what does not fit is
// passed over.  Has the notes of the bars that are complete, in order.
class Tune {
  constructor(codec) {
    this.codec = codec;
    this.bars = []; // { begin, length, metre, rows }
    this.tempos = [{ at: 0, bpm: codec.tempo, seconds: 0 }];
    this.notes = []; // { onset, length, pitch, velocity, part }, as one instrument can play them
    this.latest = new Map(); // the last note of each pitch of a part
    this.steps = 0; // to the end of what is complete
    this.at = null;
    this.part = codec.part;
    this.state = codec.parts.map(() => ({
      velocity: codec.velocity ?? 80,
      length: codec.perQuarter,
    }));
    this.isWhole = false;
  }

  static of(codec, steps) {
    const tune = new Tune(codec);
    for (const step of steps) tune.push(step);
    tune.finish();
    return tune;
  }

  push(step) {
    const [kind, value] = this.codec.events[step];
    const own = this.state[this.part ?? 0];
    if (kind === "bar") this.begin(value, value[2], []);
    else if (kind === "back") {
      const bar = this.bars.at(-value);
      if (bar) this.begin(bar.metre, bar.length, bar.rows);
    } else if (kind === "tempo") this.change(value);
    else if (kind === "note" || kind === "drum") this.sound(value, kind === "drum");
    else if (kind in own) own[kind] = value;
    else if (kind !== "end") this[kind] = value; // at, part
  }

  // Where the last bar ends, which may not be complete.
  get end() {
    const bar = this.bars.at(-1);
    return bar ? bar.begin + bar.length : 0;
  }

  begin(metre, length, rows) {
    this.close();
    this.bars.push({ begin: this.end, length, metre, rows: [...rows] });
    this.at = null;
  }

  change(bpm) {
    const at = this.end;
    const seconds = this.seconds(at);
    if (this.tempos.at(-1).at === at) this.tempos.pop();
    this.tempos.push({ at, bpm, seconds });
  }

  sound(pitch, isDrum) {
    const [bar, part] = [this.bars.at(-1), this.part ?? 0];
    if (!bar || this.at === null || this.at >= bar.length) return;
    if (this.codec.parts[part][2] !== isDrum) return;
    bar.rows.push({ onset: this.at, ...this.state[part], pitch, part });
  }

  // The last bar is complete.
  close() {
    const bar = this.bars.at(-1);
    if (!bar) return;
    this.add(bar.rows.map((row) => ({ ...row, onset: bar.begin + row.onset })));
    this.steps = Math.max(this.steps, this.end);
  }

  // Adds notes that come after the others: of two equal ones the longer, and a note ends when its
  // pitch is struck again.
  add(notes) {
    for (const note of inOrder(notes)) {
      const key = 128 * note.part + note.pitch;
      const before = this.latest.get(key);
      if (before?.onset === note.onset) continue;
      if (before) before.length = Math.min(before.length, note.onset - before.onset);
      const added = { ...note, begin: this.seconds(note.onset) };
      this.latest.set(key, added);
      this.notes.push(added);
    }
  }

  finish() {
    this.close();
    this.isWhole = true;
    for (const { onset, length } of this.notes) this.steps = Math.max(this.steps, onset + length);
  }

  seconds(step) {
    const { at, bpm, seconds } = this.tempos.findLast((tempo) => tempo.at <= step);
    return seconds + ((step - at) * 60) / bpm / this.codec.perQuarter;
  }

  endOf({ onset, length }) {
    return this.seconds(onset + length);
  }
}

function inOrder(notes) {
  const byPitch = (one, other) => other.pitch - one.pitch || other.length - one.length;
  return [...notes].sort(
    (one, other) => one.onset - other.onset || one.part - other.part || byPitch(one, other),
  );
}

// --- to events

// Turns notes into events, each of which the model knows, as `fitted` and `encode` of
// charrnn/media/notes/: what it lacks is replaced by the nearest that it has.
class Encoder {
  constructor(codec) {
    this.codec = codec;
    this.known = {}; // by kind, the step of each value
    codec.events.forEach(([kind, value], step) => {
      (this.known[kind] ??= new Map()).set(value, step);
    });
  }

  kindOf(part) {
    return this.codec.parts[part][2] ? "drum" : "note";
  }

  knows({ pitch, part }) {
    return this.known[this.kindOf(part)]?.has(pitch) ?? false;
  }

  // The nearest value; the lower of two.
  nearest(kind, value) {
    const known = [...(this.known[kind]?.keys() ?? [])].sort((one, other) => one - other);
    const away = (own) => Math.abs(own - value);
    return known.reduce((found, own) => (away(own) < away(found) ? own : found), known[0] ?? value);
  }

  fitted(note, bar) {
    const place = this.nearest("at", note.onset % bar);
    return {
      ...note,
      onset: note.onset - (note.onset % bar) + place,
      length: this.nearest("length", note.length),
      velocity: this.nearest("velocity", 8 * Math.floor(note.velocity / 8) + 4),
    };
  }

  // The steps of notes after the start; tempo and metre are steps, of which the first may be null.
  encode(notes, tempo, metre) {
    const [, , bar] = this.codec.events[metre][1];
    const tune = new Tune(this.codec);
    tune.add(inOrder(notes.filter((n) => this.knows(n)).map((n) => this.fitted(n, bar))));
    if (!tune.notes.length) return [];
    const steps = tempo === null ? [] : [tempo];
    const put = (kind, value) => {
      if (this.known[kind]?.has(value)) steps.push(this.known[kind].get(value));
    };
    let [end, at, part] = [0, null, this.codec.part];
    const state = this.codec.parts.map(() => ({ velocity: null, length: null }));
    for (const note of inOrder(tune.notes)) {
      for (; end <= note.onset; end += bar) steps.push(metre);
      if (note.onset !== at) put("at", note.onset - end + bar);
      if (note.part !== part) put("part", note.part);
      [at, part] = [note.onset, note.part];
      for (const kind of ["velocity", "length"]) {
        if (state[part][kind] !== note[kind]) put(kind, note[kind]);
        state[part][kind] = note[kind];
      }
      put(this.kindOf(part), note.pitch);
    }
    return steps;
  }
}

// --- MIDI

// The bytes of a MIDI file of format 1: tempo and metre, and a track for each part.
function midiOf({ codec, notes, bars, tempos }, speed) {
  const ticks = codec.perQuarter === 12 ? 480 : 500;
  const scale = ticks / codec.perQuarter;
  const head = tempos.map(({ at, bpm }) => {
    const microseconds = Math.min(0xffffff, Math.max(1, Math.round(6e7 / (bpm * speed))));
    return [at, [0xff, 0x51, 3, ...bytesOf(microseconds, 3)]];
  });
  bars.forEach(({ begin, metre: [beats, unit] }, index) => {
    const before = bars[index - 1]?.metre;
    if (!beats || (before?.[0] === beats && before[1] === unit)) return;
    head.push([begin, [0xff, 0x58, 4, beats, Math.log2(unit), 24, 8]]);
  });
  const tracks = [head];
  let melodic = 0;
  codec.parts.forEach(([program, , isDrum], part) => {
    const own = notes.filter((note) => note.part === part);
    if (!own.length) return;
    const place = melodic % 15;
    const channel = isDrum ? 9 : place + (place > 8);
    melodic += !isDrum;
    const events = own.flatMap(({ onset, length, pitch, velocity }) => [
      [onset, [0x90 | channel, pitch, velocity]],
      [onset + length, [0x80 | channel, pitch, 0]],
    ]);
    tracks.push([[0, [0xc0 | channel, program]], ...events]);
  });
  const chunk = (name, bytes) => [
    ...new TextEncoder().encode(name),
    ...bytesOf(bytes.length, 4),
    ...bytes,
  ];
  const header = [1, tracks.length, ticks].flatMap((value) => bytesOf(value, 2));
  const chunks = tracks.map((events) => chunk("MTrk", trackOf(events, scale)));
  return Uint8Array.from([chunk("MThd", header), ...chunks].flat());
}

// At one time, notes end before others begin.
function trackOf(events, scale) {
  const begins = ([, [status]]) => status >> 4 === 9;
  const order = (one, other) => one[0] - other[0] || begins(one) - begins(other);
  let now = 0;
  const bytes = [...events].sort(order).flatMap(([at, message]) => {
    const delta = (at - now) * scale;
    now = at;
    return [...variable(delta), ...message];
  });
  return [...bytes, 0, 0xff, 0x2f, 0];
}

function bytesOf(number, count) {
  return Array.from({ length: count }, (_, place) => (number >>> (8 * (count - 1 - place))) & 0xff);
}

// A number of variable length.
function variable(number) {
  const bytes = [number & 0x7f];
  for (let rest = number >>> 7; rest; rest >>>= 7) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}
