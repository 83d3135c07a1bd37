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

class Spectrum {
  // codec: see webpage.py.  tensors: `codec.mean`, (D,), D the bins and then the bands;
  // `codec.synthesis`, (D, F); `codec.deviation`, (bins,), of the noise; and `codec.low` and
  // `codec.share`, (bins,): the lower of the two bands of a bin, and its share in that.
  constructor(codec, { tensors, memory }, fft, noise) {
    Object.assign(this, { codec, memory, fft, noise });
    for (const name of ["mean", "synthesis", "deviation", "low", "share"]) {
      this[name] = tensors[`codec.${name}`];
    }
    const { bins, bands, n_fft: size, full_scale: scale } = codec;
    this.scale = scale; // magnitude of a full-scale sine
    this.raw = new Float32Array(bins + bands);
    this.gains = new Float64Array(bands + 1);
    this.wanted = new Float64Array(bands);
    this.white = new Float64Array(size).map(() => noise.normal());
    this.re = new Float64Array(bins);
    this.im = new Float64Array(bins);
  }

  // Magnitudes, (bins,), of features, (F,), into out.
  magnitudes(features, out, isNoisy = true) {
    const { bins, bands, is_linear: isLinear } = this.codec;
    const { raw, mean, scale } = this;
    if (isLinear) {
      for (let k = 0; k < bins; k++) out[k] = Math.min(Math.max(features[k], 0), LOUDEST * scale);
      return;
    }
    this.memory.multiply(this.synthesis, features, raw);
    add(raw, mean);
    if (isNoisy) this.addNoise(raw);
    const most = Math.log(LOUDEST);
    for (let k = 0; k < bins; k++) out[k] = (Math.exp(Math.min(raw[k], most)) - FLOOR) * scale;
    if (bands) this.level(out, raw.subarray(bins));
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

  // Brings the bands of magnitudes to log levels.
  level(magnitudes, levels) {
    const { low, share, scale, gains, wanted } = this;
    const { bins, bands } = this.codec;
    for (let band = 0; band < bands; band++) {
      const power = Math.exp(2 * Math.min(levels[band], Math.log(LOUDEST))) - FLOOR ** 2;
      wanted[band] = Math.log(Math.max(power, LEAST ** 2));
    }
    for (let k = 0; k < bins; k++) magnitudes[k] = Math.max(magnitudes[k], LEAST * scale);
    for (let round = 0; round < LEVELLED; round++) {
      gains.fill(0);
      for (let k = 0; k < bins; k++) {
        const power = (magnitudes[k] / scale) ** 2;
        gains[low[k]] += share[k] * power;
        gains[low[k] + 1] += (1 - share[k]) * power;
      }
      for (let band = 0; band < bands; band++) {
        const gain = (wanted[band] - Math.log(gains[band] + LEAST ** 2)) / 2;
        gains[band] = Math.min(Math.max(gain, -MOST_GAIN), MOST_GAIN);
      }
      gains[bands] = 0;
      for (let k = 0; k < bins; k++) {
        const gain = share[k] * gains[low[k]] + (1 - share[k]) * gains[low[k] + 1];
        magnitudes[k] *= Math.exp(gain);
      }
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
