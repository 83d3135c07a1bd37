// Magnitudes from the frames of the network, as charrnn/media/sound/spectrogram.py makes them, and
// the colours of the picture.

const FLOOR = 1e-4; // of a full-scale sine
const LEAST = 1e-6; // of a full-scale sine: smaller magnitudes count as this one
const LOUDEST = 100; // times a full-scale sine
const LEVELLED = 3; // rounds in which the bands are brought to their levels, since they overlap
const MOST_GAIN = 6; // nats of a band in one round

// Random numbers.  There are so many that `Random` would be too slow: this is sfc32 (Doty-Humphrey,
// PractRand), which begins with numbers of that.  Normal ones come from the polar method (Marsaglia
// and Bray 1964); NumPy draws them in another way, so that a seed gives another sound than in the
// program.  After some frames rounding would part the two anyway.
class Noise {
  constructor(random) {
    this.words = Int32Array.from({ length: 4 }, () => Number(random.halfBits()));
    this.other = null; // each draw gives two normal numbers
  }

  // From 0 to 1, without 1.
  uniform() {
    const { words } = this;
    const mixed = (words[0] + words[1] + words[3]) | 0;
    words[3]++;
    words[0] = words[1] ^ (words[1] >>> 9);
    words[1] = words[2] + (words[2] << 3);
    words[2] = ((words[2] << 21) | (words[2] >>> 11)) + mixed;
    return (mixed >>> 0) / 2 ** 32;
  }

  normal() {
    if (this.other !== null) {
      const kept = this.other;
      this.other = null;
      return kept;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square >= 1 || !square) continue;
      const factor = Math.sqrt((-2 * Math.log(square)) / square);
      this.other = factor * y;
      return factor * x;
    }
  }
}

// The periodic Hann window, (size,).
function hann(size) {
  const value = (_, k) => 0.5 - 0.5 * Math.cos((2 * Math.PI * k) / size);
  return Float64Array.from({ length: size }, value);
}

// The bands of frames.
class Bank {
  // low, share: (bins,): the lower of the two bands of a bin, and its share in that.
  // bands: how many there are, after which `low` counts one more, of nothing.
  // first: the bands before it have no levels.
  // scale: magnitude of a full-scale sine.
  constructor(low, share, bands, first, scale) {
    Object.assign(this, { low, share, bands, first, scale });
    this.gains = new Float64Array(bands + 1);
  }

  // Factors, (bins,), that bring the bands of magnitudes nearer to log levels, (bands - first,).
  factors(magnitudes, levels, out) {
    const { low, share, bands, first, scale, gains } = this;
    gains.fill(0);
    for (let k = 0; k < low.length; k++) {
      const power = (magnitudes[k] / scale) ** 2;
      gains[low[k]] += share[k] * power;
      gains[low[k] + 1] += (1 - share[k]) * power;
    }
    for (let band = 0; band <= bands; band++) {
      if (band < first || band === bands) {
        gains[band] = 0;
        continue;
      }
      const wanted = Math.exp(2 * Math.min(levels[band - first], Math.log(LOUDEST))) - FLOOR ** 2;
      const lacking = Math.max(wanted, LEAST ** 2) / (gains[band] + LEAST ** 2);
      gains[band] = Math.min(Math.max(Math.log(lacking) / 2, -MOST_GAIN), MOST_GAIN);
    }
    for (let k = 0; k < low.length; k++) {
      out[k] = Math.exp(share[k] * gains[low[k]] + (1 - share[k]) * gains[low[k] + 1]);
    }
  }
}

class Spectrum {
  // codec: see webpage.py.  tensors: `codec.mean`, (D,), D the bins, the bands, and the levels of
  // the envelope; `codec.synthesis`, (D, components); `codec.deviation`, (bins,), of the noise; and
  // `codec.low` and `codec.share` of the bands.
  constructor(codec, { tensors, memory }, fft, noise) {
    Object.assign(this, { codec, memory, fft, noise });
    for (const name of ["mean", "synthesis", "deviation"]) this[name] = tensors[`codec.${name}`];
    const { bins, bands, n_fft: size, full_scale: scale, is_linear: isLinear } = codec;
    this.scale = scale; // magnitude of a full-scale sine
    this.raw = new Float32Array(isLinear ? 0 : this.mean.length);
    this.components = isLinear ? 0 : this.synthesis.length / this.raw.length;
    this.levels = this.raw.subarray(bins, bins + bands);
    this.envelope = this.raw.subarray(bins + bands); // of the last frame
    this.factors = new Float64Array(bins);
    if (bands) this.bank = new Bank(tensors["codec.low"], tensors["codec.share"], bands, 0, scale);
    this.white = new Float64Array(size).map(() => noise.normal());
    this.re = new Float64Array(bins);
    this.im = new Float64Array(bins);
  }

  // Magnitudes, (bins,), of features, (F,), into out; those after the components are the position.
  magnitudes(features, out, isNoisy = true) {
    const { bins, bands, is_linear: isLinear } = this.codec;
    const { raw, mean, scale } = this;
    if (isLinear) {
      for (let k = 0; k < bins; k++) out[k] = Math.min(Math.max(features[k], 0), LOUDEST * scale);
      return;
    }
    this.memory.multiply(this.synthesis, features.subarray(0, this.components), raw);
    add(raw, mean);
    if (isNoisy) this.addNoise(raw);
    const most = Math.log(LOUDEST);
    for (let k = 0; k < bins; k++) out[k] = (Math.exp(Math.min(raw[k], most)) - FLOOR) * scale;
    if (bands) this.level(out);
    for (let k = 0; k < bins; k++) out[k] = Math.min(Math.max(out[k], 0), LOUDEST * scale);
  }

  // What the features leave out: the log magnitudes of white noise, which change from frame to
  // frame as those of a sound do; without bands, independent numbers.
  addNoise(raw) {
    const { white, noise, deviation, re, im } = this;
    const { bins, bands, n_fft: size, hop, usual } = this.codec;
    if (!bands) {
      for (let k = 0; k < bins; k++) raw[k] += deviation[k] * noise.normal();
      return;
    }
    white.copyWithin(0, hop);
    for (let k = size - hop; k < size; k++) white[k] = noise.normal();
    this.fft.forward(white, 0, re, im, 0);
    for (let k = 0; k < bins; k++) {
      const magnitude = Math.sqrt(re[k] * re[k] + im[k] * im[k]) + 1e-9;
      raw[k] += (Math.log(magnitude) - usual) * deviation[k];
    }
  }

  // Brings the bands of magnitudes to their levels.
  level(magnitudes) {
    const { bank, levels, factors, scale } = this;
    for (let k = 0; k < factors.length; k++) {
      magnitudes[k] = Math.max(magnitudes[k], LEAST * scale);
    }
    for (let round = 0; round < LEVELLED; round++) {
      bank.factors(magnitudes, levels, factors);
      for (let k = 0; k < factors.length; k++) magnitudes[k] *= factors[k];
    }
  }

  // A column of the picture: the level of each row, from 0 (silence) to 255 (full scale).  A row is
  // as loud as its middle, or the loudest bin in it.
  column(magnitudes) {
    const { rows, range_db: range } = this.codec;
    const column = new Uint8Array(rows.length - 1);
    for (let row = 0; row < column.length; row++) {
      const middle = (rows[row] + rows[row + 1]) / 2;
      const below = Math.floor(middle);
      let most = magnitudes[below] + (middle - below) * (magnitudes[below + 1] - magnitudes[below]);
      for (let k = Math.ceil(rows[row]); k < rows[row + 1]; k++) {
        most = Math.max(most, magnitudes[k]);
      }
      const level = 1 + (20 * Math.log10(most / this.scale + 1e-9)) / range;
      column[row] = 255 * Math.min(Math.max(level, 0), 1);
    }
    return column;
  }
}
