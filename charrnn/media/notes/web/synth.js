// The sound of tunes, as charrnn/media/notes/synth.py: decaying harmonics for notes, noise for
// drums.  Only the noise is another one.

const RATE = 44_100; // samples per second
const TAIL_S = 0.3; // a note fades out for so long after its end
const ATTACK_S = 0.005;
const LONGEST_S = 20; // of a held note; by then it has faded
const LOUDEST = 0.5; // of full scale, for one note
const [DEEP, MEDIUM] = [37, 42]; // pitches of drums below these are deep, or medium

// The sound of a note that is held for some seconds; part: [program, number, whether it is drums].
function soundOf({ pitch, velocity }, [program, , isDrum], held, families) {
  const loudness = LOUDEST * (velocity / 127) ** 1.5;
  const family = families[program >> 3];
  const sound = isDrum ? drumSound(pitch) : noteSound(pitch, Math.min(LONGEST_S, held), family);
  return sound.map((sample) => sample * loudness);
}

function noteSound(pitch, held, [harmonics, half]) {
  const sound = new Float64Array(Math.round((held + TAIL_S) * RATE));
  const frequency = 440 * 2 ** ((pitch - 69) / 12);
  const total = harmonics.reduce((sum, amplitude) => sum + amplitude);
  harmonics.forEach((amplitude, index) => {
    const number = index + 1;
    if (!amplitude || number * frequency >= RATE / 2) return;
    // Each sample of a decaying sine follows from the two before it.
    const decay = 0.5 ** (Math.sqrt(number) / half / RATE);
    const angle = (2 * Math.PI * number * frequency) / RATE;
    const [first, second] = [2 * decay * Math.cos(angle), decay * decay];
    let [before, value] = [(-amplitude * Math.sin(angle)) / decay / total, 0];
    for (let k = 0; k < sound.length; k++) {
      sound[k] += value;
      [before, value] = [value, first * value - second * before];
    }
  });
  for (let k = 0; k < ATTACK_S * RATE && k < sound.length; k++) sound[k] *= k / RATE / ATTACK_S;
  for (let k = Math.max(0, Math.ceil(held * RATE)); k < sound.length; k++) {
    sound[k] *= Math.max(0, (held + TAIL_S - k / RATE) / TAIL_S) ** 2;
  }
  return Float32Array.from(sound);
}

function drumSound(pitch) {
  const isDeep = pitch < DEEP;
  const [seconds, tone] = isDeep ? [0.25, 60] : pitch < MEDIUM ? [0.2, 180] : [0.1, 0];
  const random = noise(pitch);
  let before = 0;
  return Float32Array.from({ length: Math.round(seconds * RATE) }, (_, k) => {
    const time = k / RATE;
    const rough = random() * Math.exp(-time * (isDeep ? 60 : 25));
    let sound = (isDeep ? 0.1 : 0.4) * (tone ? rough : rough - before); // or bright
    before = rough;
    const falling = time + 0.02 * (1 - Math.exp(-time * 40));
    if (tone) sound += Math.sin(2 * Math.PI * tone * falling);
    return sound * Math.exp((-time * 5) / seconds);
  });
}

// Normal random numbers (Box and Muller 1958) from the generator of Numerical Recipes.
function noise(seed) {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

const MOST_KEPT = 1e7; // samples

// The sounds of notes, kept for those that come again.
class Sounds {
  constructor(parts, families) {
    Object.assign(this, { parts, families, kept: new Map(), size: 0 });
  }

  of(note, held) {
    const key = [note.part, note.pitch, note.velocity, Math.round(held * RATE)].join();
    const found = this.kept.get(key);
    if (found) return found;
    const sound = soundOf(note, this.parts[note.part], held, this.families);
    this.kept.set(key, sound);
    this.size += sound.length;
    for (const [old, { length }] of this.kept) {
      if (this.size <= MOST_KEPT) break;
      this.kept.delete(old);
      this.size -= length;
    }
    return sound;
  }
}

// Samples of a whole tune.  Yields now and then how far it is, from 0 to 1.
function* mixed(tune, speed, sounds) {
  const samples = new Float32Array(Math.round((tune.seconds(tune.steps) / speed + TAIL_S) * RATE));
  for (const [index, note] of tune.notes.entries()) {
    const sound = sounds.of(note, (tune.endOf(note) - note.begin) / speed);
    const at = Math.round((note.begin / speed) * RATE);
    const count = Math.min(sound.length, samples.length - at);
    for (let k = 0; k < count; k++) samples[at + k] += sound[k];
    yield index / tune.notes.length;
  }
  for (let k = 0; k < samples.length; k++) {
    samples[k] = Math.tanh(samples[k]); // a soft limit, so that many notes at once do not clip
    if (k % RATE === 0) yield 1;
  }
  return samples;
}

// --- playing

const AHEAD_S = 2; // sounds are scheduled so far ahead
const URGENT_S = 1.1; // timers of a page that is not seen come once a second
const BUSY_MS = 25; // for which sounds are computed at a time
const LEAD_S = 0.15; // before the first sound
const LATE_S = 0.03; // is not heard
const FADE_S = 0.1; // when it is stopped
const STRONGEST = 4; // the sum of all sounds may be so large before it is limited

// A limit as that of `mixed`, before an output.
function limiterOf(context) {
  const [gain, limiter] = [context.createGain(), context.createWaveShaper()];
  gain.gain.value = 1 / STRONGEST;
  limiter.curve = Float32Array.from({ length: 8193 }, (_, k) =>
    Math.tanh(STRONGEST * (k / 4096 - 1)),
  );
  gain.connect(limiter).connect(context.destination);
  return gain;
}

// Plays a tune, which may still grow.
class Player {
  // ended: what is called when it has ended.
  constructor(sounds, ended) {
    Object.assign(this, { sounds, ended, tune: null, speed: 1, started: [] });
  }

  // Browsers let a page sound only after somebody has clicked on it.
  open() {
    this.context ??= new AudioContext({ sampleRate: RATE });
    this.output ??= limiterOf(this.context);
    if (this.context.state === "suspended") this.context.resume();
  }

  play(tune) {
    this.open();
    this.stop();
    this.channel = this.context.createGain();
    this.channel.connect(this.output);
    Object.assign(this, { tune, next: 0, origin: this.context.currentTime + LEAD_S });
    this.timer = setInterval(() => this.tick(), 50);
  }

  stop() {
    if (!this.tune) return;
    clearInterval(this.timer);
    this.tune = null;
    const now = this.context.currentTime;
    this.channel.gain.setTargetAtTime(0, now, FADE_S / 4); // without a click
    this.silence(0, now + FADE_S);
  }

  // Ends the sounds that begin after a time.
  silence(from, now) {
    for (const { source, at } of this.started) if (at >= from) source.stop(now);
    this.started = this.started.filter(({ at }) => at < from);
  }

  // Seconds of the tune, at its own tempo.
  get place() {
    return this.tune ? (this.context.currentTime - this.origin) * this.speed : 0;
  }

  // What is heard now was played so long ago.
  get latency() {
    return (this.context?.outputLatency || 0) * this.speed;
  }

  setSpeed(speed) {
    const { place, tune } = this;
    const isSame = speed === this.speed;
    this.speed = speed;
    if (!tune || isSame) return;
    const now = this.context.currentTime;
    this.silence(now, now);
    this.origin = now - place / speed;
    const next = tune.notes.findIndex(({ begin }) => begin > place);
    this.next = next < 0 ? tune.notes.length : next;
  }

  tick() {
    const { tune, context, speed } = this;
    const now = context.currentTime;
    const known = tune.seconds(tune.steps);
    if (!tune.isWhole && this.place > known) this.origin = now - known / speed; // waits for more
    if (tune.isWhole && this.place > known + TAIL_S * speed) {
      this.stop();
      this.ended();
      return;
    }
    this.started = this.started.filter(({ at }) => at > now - LONGEST_S);
    this.schedule(AHEAD_S, performance.now() + BUSY_MS);
  }

  // Schedules what begins within some seconds; after `until` only what is urgent.
  schedule(ahead, until = Infinity) {
    const { tune, context, speed } = this;
    for (; this.next < tune.notes.length; this.next++) {
      const note = tune.notes[this.next];
      const wait = (note.begin - this.place) / speed;
      if (wait > ahead || (wait > URGENT_S && performance.now() > until)) return;
      const source = this.sourceOf(note, (tune.endOf(note) - note.begin) / speed);
      const late = context.currentTime - this.origin - note.begin / speed;
      if (late > LATE_S) this.origin += late + LEAD_S; // rather a rest than a wrong rhythm
      const at = Math.max(context.currentTime, this.origin + note.begin / speed);
      source.connect(this.channel);
      source.start(at);
      this.started.push({ source, at });
    }
  }

  sourceOf(note, held) {
    const sound = this.sounds.of(note, held);
    const buffer = this.context.createBuffer(1, sound.length, RATE);
    buffer.copyToChannel(sound, 0);
    return new AudioBufferSourceNode(this.context, { buffer });
  }

  // Sounds until what it gives is called.
  press(note) {
    this.open();
    const gain = this.context.createGain();
    const source = this.sourceOf(note, 4);
    source.connect(gain).connect(this.output);
    source.start();
    return () => {
      this.open(); // a finger counts as a click only now
      const now = this.context.currentTime;
      gain.gain.setTargetAtTime(0, now, TAIL_S / 4);
      source.stop(now + 2 * TAIL_S);
    };
  }
}
