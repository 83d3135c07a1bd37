// The temporal envelope of sound, as charrnn/media/sound/envelope.py makes it: the bands of short
// frames are brought to their levels.

const ROUNDS = 2; // since bands and frames overlap

class EnvelopeStream {
  // codec: see webpage.py.  tensors: `codec.short_low` and `codec.short_share` of the bands.
  constructor(codec, tensors) {
    this.rounds = Array.from({ length: ROUNDS }, () => new EnvelopeRound(codec, tensors));
  }

  // Adds the levels of a long frame: those of its short ones.
  next(levels) {
    for (const round of this.rounds) {
      const { bands, first } = round.bank;
      for (let begin = 0; begin < levels.length; begin += bands - first) {
        round.wanted.push(levels.slice(begin, begin + bands - first));
      }
    }
  }

  // Adds sound; gives what is final by now.
  push(sound) {
    return this.rounds.reduce((found, round) => round.push(found), sound);
  }
}

class EnvelopeRound {
  constructor({ bands, envelope }, tensors) {
    const { hop, first, full_scale: scale } = envelope; // a short frame is two short hops long
    const [low, share] = ["low", "share"].map((name) => tensors[`codec.short_${name}`]);
    this.fft = new Fft(hann(2 * hop));
    this.bank = new Bank(low, share, bands, first, scale);
    this.hop = hop;
    this.weights = Float64Array.from({ length: hop }, (_, k) => {
      return this.fft.window[k] ** 2 + this.fft.window[hop + k] ** 2;
    });
    this.wanted = []; // levels of short frames to come
    this.rest = new Float32Array(hop); // from the beginning of the next short frame on
    this.overlap = new Float32Array(hop); // of the frames before with the next one
    this.toDrop = hop; // samples before the centre of the first frame
    for (const name of ["re", "im", "magnitudes", "factors"]) {
      this[name] = new Float64Array(hop + 1);
    }
  }

  push(sound) {
    const { hop, rest, wanted, overlap, weights } = this;
    const given = new Float32Array(rest.length + sound.length);
    given.set(rest);
    given.set(sound, rest.length);
    const count = Math.max(0, Math.min(Math.floor(given.length / hop) - 1, wanted.length));
    const shaped = new Float32Array((count + 1) * hop);
    shaped.set(overlap);
    for (let frame = 0; frame < count; frame++) this.shape(given, shaped, frame);
    wanted.splice(0, count);
    this.rest = given.slice(count * hop);
    this.overlap = shaped.slice(count * hop);
    const dropped = Math.min(this.toDrop, count * hop);
    this.toDrop -= dropped;
    return shaped.subarray(dropped, count * hop).map((value, k) => value / weights[k % hop]);
  }

  // Adds a frame of the given sound to the other.
  shape(given, shaped, frame) {
    const { fft, bank, hop, re, im, magnitudes, factors, wanted } = this;
    fft.forward(given, frame * hop, re, im, 0);
    for (let k = 0; k <= hop; k++) magnitudes[k] = Math.sqrt(re[k] * re[k] + im[k] * im[k]);
    bank.factors(magnitudes, wanted[frame], factors);
    for (let k = 0; k <= hop; k++) {
      re[k] *= factors[k];
      im[k] *= factors[k];
    }
    fft.addInverse(re, im, 0, shaped, frame * hop);
  }
}
