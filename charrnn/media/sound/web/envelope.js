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
    const { hop: half, first, full_scale: scale } = envelope; // a short hop is half a short frame
    const [low, share] = ["low", "share"].map((name) => tensors[`codec.short_${name}`]);
    this.fft = new Fft(hann(2 * half));
    this.bank = new Bank(low, share, bands, first, scale);
    this.half = half;
    this.weights = Float64Array.from({ length: half }, (_, k) => {
      return this.fft.window[k] ** 2 + this.fft.window[half + k] ** 2;
    });
    this.wanted = []; // levels of short frames to come
    this.rest = new Float32Array(half); // from the beginning of the next short frame on
    this.overlap = new Float32Array(half); // of the frames before with the next one
    this.toDrop = half; // samples before the centre of the first frame
    for (const name of ["re", "im", "magnitudes", "factors"]) {
      this[name] = new Float64Array(half + 1);
    }
  }

  push(sound) {
    const { half, rest, wanted, overlap, weights } = this;
    const given = new Float32Array(rest.length + sound.length);
    given.set(rest);
    given.set(sound, rest.length);
    const count = Math.max(0, Math.min(Math.floor(given.length / half) - 1, wanted.length));
    const shaped = new Float32Array((count + 1) * half);
    shaped.set(overlap);
    for (let frame = 0; frame < count; frame++) this.shape(given, shaped, frame);
    wanted.splice(0, count);
    this.rest = given.slice(count * half);
    this.overlap = shaped.slice(count * half);
    const dropped = Math.min(this.toDrop, count * half);
    this.toDrop -= dropped;
    return shaped.subarray(dropped, count * half).map((value, k) => value / weights[k % half]);
  }

  // Adds a frame of the given sound to the other.
  shape(given, shaped, frame) {
    const { fft, bank, half, re, im, magnitudes, factors, wanted } = this;
    fft.forward(given, frame * half, re, im, 0);
    for (let k = 0; k <= half; k++) magnitudes[k] = Math.sqrt(re[k] * re[k] + im[k] * im[k]);
    bank.factors(magnitudes, wanted[frame], factors);
    for (let k = 0; k <= half; k++) {
      re[k] *= factors[k];
      im[k] *= factors[k];
    }
    fft.addInverse(re, im, 0, shaped, frame * half);
  }
}
