// Draws the steps of a text, as charrnn/sampling/ does: a seed gives the same text here and there.

// Random numbers as NumPy's default_rng([seed, index]) gives them.  SeedSequence mixes the numbers
// into 128 bits and makes 256 of them (NumPy's documentation of SeedSequence).  PCG64 begins with
// those: a linear congruential generator of 128 bits, each of whose states gives 64 by XSL-RR, an
// exclusive or of its halves, rotated (O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient
// Statistically Good Algorithms for Random Number Generation").
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

class Random {
  constructor(seed, index) {
    const [start, stream] = seeded([...words(seed), ...words(index)]);
    this.increment = BigInt.asUintN(128, (stream << 1n) | 1n);
    this.state = this.increment + start;
    this.half = null; // 32 bits that are left
    this.advance();
  }

  advance() {
    this.state = BigInt.asUintN(128, this.state * MULTIPLIER + this.increment);
  }

  bits() {
    this.advance();
    const mixed = BigInt.asUintN(64, this.state >> 64n) ^ BigInt.asUintN(64, this.state);
    const turn = this.state >> 122n;
    return BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
  }

  // From 0 to 1, without 1.
  random() {
    return Number(this.bits() >> 11n) / 2 ** 53;
  }

  // A whole number below `below`, of 32 bits (Lemire 2019).
  integers(below) {
    if (below === 1) return 0;
    const range = BigInt(below);
    const least = 2n ** 32n % range;
    for (;;) {
      const product = this.halfBits() * range;
      if (BigInt.asUintN(32, product) >= least) return Number(product >> 32n);
    }
  }

  halfBits() {
    const bits = this.half ?? this.bits();
    this.half = this.half === null ? bits >> 32n : null;
    return BigInt.asUintN(32, bits);
  }
}

// The 32-bit words of a whole number below 2^53, the lowest first.
function words(number) {
  const high = Math.floor(number / 2 ** 32);
  return high ? [number >>> 0, high] : [number];
}

// SeedSequence: two numbers of 128 bits from words.
function seeded(entropy) {
  const hasher = (constant, factor) => (word) => {
    const mixed = word ^ constant;
    constant = Math.imul(constant, factor);
    const hash = Math.imul(mixed, constant);
    return hash ^ (hash >>> 16);
  };
  const mix = (x, y) => {
    const mixed = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return mixed ^ (mixed >>> 16);
  };
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = [0, 1, 2, 3].map((place) => hash(entropy[place] ?? 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (to !== from) pool[to] = mix(pool[to], hash(pool[from]));
  }
  for (const word of entropy.slice(4)) {
    for (let to = 0; to < 4; to++) pool[to] = mix(pool[to], hash(word));
  }
  const output = hasher(0x8b51f9dd, 0x58f38ded);
  const made = Array.from({ length: 8 }, (_, place) => BigInt(output(pool[place % 4]) >>> 0));
  const joined = (...places) => places.reduce((all, place) => (all << 32n) | made[place], 0n);
  return [joined(1, 0, 3, 2), joined(5, 4, 7, 6)];
}

// Which steps may follow, for a new sequence: an object with add(step), and restrict(logits), (V,),
// which changes them; scripts of a medium may replace this.
let newRules = () => null;

// --- filters on probabilities, (V,), in the order in which they are applied

// Probabilities after temperature; their sum need not be 1.
function tempered(logits, temperature) {
  let best = 0;
  for (let k = 1; k < logits.length; k++) if (logits[k] > logits[best]) best = k;
  const most = logits[best];
  if (!Number.isFinite(most)) throw new Error("what the network predicts is not finite");
  const chances = new Float64Array(logits.length);
  if (temperature === 0) {
    chances[best] = 1;
    return chances;
  }
  const factor = Math.min(1 / temperature, 1e30);
  for (let k = 0; k < chances.length; k++) chances[k] = Math.exp((logits[k] - most) * factor);
  return chances;
}

function filtered(logits, settings, temperature) {
  const { top_k: k, top_p: p, min_p: share, typical_p: typical } = settings;
  let chances = tempered(logits, temperature);
  if (!k && p >= 1 && !share && typical >= 1) return chances;
  chances = normalized(chances);
  if (k && k < chances.length) chances = keep(chances, likeliest(chances).slice(0, k), Infinity);
  if (p < 1) chances = keep(chances, likeliest(chances), p);
  if (share) {
    const least = share * chances[likeliest(chances)[0]];
    chances = normalized(chances.map((chance) => (chance >= least ? chance : 0)));
  }
  if (typical >= 1) return chances;
  const surprises = chances.map((chance) => -Math.log(chance));
  let entropy = 0;
  for (let step = 0; step < chances.length; step++) {
    if (chances[step]) entropy += chances[step] * surprises[step];
  }
  return keep(chances, ordered(chances, (step) => Math.abs(surprises[step] - entropy)), typical);
}

function likeliest(chances) {
  return ordered(chances, (step) => -chances[step]);
}

// The possible steps in the order of a number; equal ones as they were.
function ordered(chances, key) {
  const possible = [];
  for (let step = 0; step < chances.length; step++) if (chances[step]) possible.push(step);
  return possible.sort((one, other) => key(one) - key(other));
}

// Keeps steps in this order until together they have this probability.
function keep(chances, order, enough) {
  const kept = new Float64Array(chances.length);
  let total = 0;
  for (const step of order) {
    if (total >= enough) break;
    kept[step] = chances[step];
    total += chances[step];
  }
  return normalized(kept);
}

function normalized(chances) {
  let total = 0;
  for (const chance of chances) total += chance;
  return chances.map((chance) => chance / total);
}

// The step at which the sum of the probabilities exceeds a part, from 0 to 1, of all of it.
function draw(chances, part) {
  const sums = new Float64Array(chances.length);
  let total = 0;
  for (let step = 0; step < chances.length; step++) sums[step] = total += chances[step];
  const step = sums.findIndex((sum) => sum > part * total);
  return step < 0 ? chances.findLastIndex((chance) => chance > 0) : step;
}

// What depends on earlier steps: the repetition penalty, rules, bans of n-grams and of the end.
class History {
  constructor(settings, codec, prime) {
    const { never, end } = codec;
    Object.assign(this, { settings, never, end, rules: newRules(codec) });
    this.recent = [];
    this.last = []; // the steps before the next one that are part of an n-gram with it
    this.after = new Map(); // what has followed such steps
    for (const step of prime) this.add(step);
    this.count = 0;
  }

  add(step) {
    const { no_repeat_ngram: n, repetition_penalty: penalty, repetition_window: most } =
      this.settings;
    this.latest = step;
    this.count++;
    this.rules?.add(step);
    if (step === this.end) {
      this.last = [];
      return;
    }
    if (n && this.last.length === n - 1) {
      const key = this.last.join();
      if (!this.after.has(key)) this.after.set(key, new Set());
      this.after.get(key).add(step);
    }
    if (n > 1) this.last = [...this.last, step].slice(1 - n);
    if (penalty !== 1) this.recent.push(step);
    if (this.recent.length > most) this.recent.shift();
  }

  // The logits after all of it.
  applied(logits) {
    const { no_repeat_ngram: n, repetition_penalty: penalty, min_length: least } = this.settings;
    const lowered = new Float64Array(logits);
    for (const step of new Set(this.recent)) {
      lowered[step] = lowered[step] > 0 ? lowered[step] / penalty : lowered[step] * penalty;
    }
    const ban = (step) => {
      lowered[step] = -Infinity;
    };
    this.rules?.restrict(lowered);
    this.never.forEach(ban);
    if (this.end !== null && (this.count < least || this.latest === this.end)) ban(this.end);
    if (n && this.last.length === n - 1) this.after.get(this.last.join())?.forEach(ban);
    if (lowered.every((logit) => logit === -Infinity)) {
      throw new Error("the settings of this page leave nothing to write");
    }
    return lowered;
  }
}

// Draws the steps of one text, each with its surprise in nats, to the end of a document or without
// end.  Yields undefined while it reads what the text continues.
function* sampled(network, codec, settings, prime, seed, index) {
  const { start, end } = codec;
  const random = new Random(seed, index);
  const isBeginning = network.starts > 0 && start.every((step, place) => prime[place] === step);
  const state = network.begin(isBeginning ? random.integers(network.starts) : -1);
  for (const step of prime) {
    network.advance(state, step);
    yield undefined;
  }
  const history = new History(settings, codec, prime);
  let logits = network.logits(state);
  for (let count = 0; ; count++) {
    const temperature = settings.temperature[count % settings.temperature.length];
    const chances = filtered(history.applied(logits), settings, temperature);
    const step = draw(chances, random.random());
    yield { step, nats: logSum(logits) - logits[step] };
    if (step === end) return;
    history.add(step);
    logits = network.step(state, step);
  }
}
