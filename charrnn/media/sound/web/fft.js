// The Fourier transform of windowed frames of real numbers, and its inverse.

// A frame of N numbers is read as N / 2 complex ones.  Their transform is that of Stockham, whose
// result is in order, with four numbers at a time as long as N / 2 divides by four; what is left is
// done by the definition for each prime factor (Van Loan 1992, "Computational Frameworks for the
// Fast Fourier Transform").
class Fft {
  // window: (N,), N even; each frame is multiplied by it, before the transform and after the
  // inverse.
  constructor(window) {
    const half = window.length / 2;
    this.window = Float64Array.from(window);
    this.inverse = this.window.map((value) => value / half);
    this.half = half;
    this.factors = factorsOf(half);
    [this.cos, this.sin] = roots(half, half);
    [this.turnCos, this.turnSin] = roots(window.length, (half >> 1) + 1);
    this.re = new Float64Array(half);
    this.im = new Float64Array(half);
    this.nextRe = new Float64Array(half);
    this.nextIm = new Float64Array(half);
  }

  // The spectrum, N / 2 + 1 numbers from `to` on, of the frame that begins at `at`.
  forward(values, at, re, im, to) {
    const { half, window, turnCos, turnSin } = this;
    const [inRe, inIm] = [this.re, this.im];
    for (let k = 0; k < half; k++) {
      inRe[k] = values[at + 2 * k] * window[2 * k];
      inIm[k] = values[at + 2 * k + 1] * window[2 * k + 1];
    }
    this.transform();
    const [zRe, zIm] = [this.re, this.im];
    re[to] = zRe[0] + zIm[0];
    re[to + half] = zRe[0] - zIm[0];
    im[to] = im[to + half] = 0;
    for (let k = 1; 2 * k <= half; k++) {
      const other = half - k;
      const evenRe = (zRe[k] + zRe[other]) / 2;
      const evenIm = (zIm[k] - zIm[other]) / 2;
      const oddRe = (zIm[k] + zIm[other]) / 2;
      const oddIm = (zRe[other] - zRe[k]) / 2;
      const turnedRe = oddRe * turnCos[k] - oddIm * turnSin[k];
      const turnedIm = oddRe * turnSin[k] + oddIm * turnCos[k];
      re[to + k] = evenRe + turnedRe;
      im[to + k] = evenIm + turnedIm;
      re[to + other] = evenRe - turnedRe;
      im[to + other] = turnedIm - evenIm;
    }
  }

  // Adds the frame of the spectrum that begins at `from` to the numbers from `at` on.
  addInverse(re, im, from, values, at) {
    const { half, inverse, turnCos, turnSin } = this;
    const [zRe, zIm] = [this.re, this.im];
    // The inverse is the transform with real and imaginary part exchanged.
    zIm[0] = (re[from] + re[from + half]) / 2;
    zRe[0] = (re[from] - re[from + half]) / 2;
    for (let k = 1; 2 * k <= half; k++) {
      const one = from + k;
      const other = from + half - k;
      const evenRe = (re[one] + re[other]) / 2;
      const evenIm = (im[one] - im[other]) / 2;
      const oddRe = (re[one] - re[other]) / 2;
      const oddIm = (im[one] + im[other]) / 2;
      const turnedRe = oddRe * turnCos[k] + oddIm * turnSin[k];
      const turnedIm = oddIm * turnCos[k] - oddRe * turnSin[k];
      zIm[k] = evenRe - turnedIm;
      zRe[k] = evenIm + turnedRe;
      zIm[half - k] = evenRe + turnedIm;
      zRe[half - k] = turnedRe - evenIm;
    }
    this.transform();
    const [outRe, outIm] = [this.im, this.re];
    for (let k = 0; k < half; k++) {
      values[at + 2 * k] += outRe[k] * inverse[2 * k];
      values[at + 2 * k + 1] += outIm[k] * inverse[2 * k + 1];
    }
  }

  // Transforms the complex numbers in `re` and `im`.
  transform() {
    let stride = 1;
    for (const factor of this.factors) {
      if (factor === 4) this.byFour(stride);
      else this.byFactor(stride, factor);
      stride *= factor;
      [this.re, this.nextRe] = [this.nextRe, this.re];
      [this.im, this.nextIm] = [this.nextIm, this.im];
    }
  }

  byFour(stride) {
    const { re, im, nextRe, nextIm, cos, sin } = this;
    const quarter = this.half / 4;
    for (let begin = 0; begin < quarter; begin += stride) {
      const cos1 = cos[begin];
      const sin1 = sin[begin];
      const cos2 = cos[2 * begin];
      const sin2 = sin[2 * begin];
      const cos3 = cos[3 * begin];
      const sin3 = sin[3 * begin];
      let to = 4 * begin;
      for (let a = begin; a < begin + stride; a++, to++) {
        const b = a + quarter;
        const c = b + quarter;
        const d = c + quarter;
        const acRe = re[a] + re[c];
        const acIm = im[a] + im[c];
        const bdRe = re[b] + re[d];
        const bdIm = im[b] + im[d];
        const aMinusRe = re[a] - re[c];
        const aMinusIm = im[a] - im[c];
        const bMinusRe = im[b] - im[d]; // turned by a quarter
        const bMinusIm = re[d] - re[b];
        nextRe[to] = acRe + bdRe;
        nextIm[to] = acIm + bdIm;
        const re1 = aMinusRe + bMinusRe;
        const im1 = aMinusIm + bMinusIm;
        nextRe[to + stride] = re1 * cos1 - im1 * sin1;
        nextIm[to + stride] = re1 * sin1 + im1 * cos1;
        const re2 = acRe - bdRe;
        const im2 = acIm - bdIm;
        nextRe[to + 2 * stride] = re2 * cos2 - im2 * sin2;
        nextIm[to + 2 * stride] = re2 * sin2 + im2 * cos2;
        const re3 = aMinusRe - bMinusRe;
        const im3 = aMinusIm - bMinusIm;
        nextRe[to + 3 * stride] = re3 * cos3 - im3 * sin3;
        nextIm[to + 3 * stride] = re3 * sin3 + im3 * cos3;
      }
    }
  }

  byFactor(stride, factor) {
    const { re, im, nextRe, nextIm, cos, sin, half } = this;
    const part = half / factor;
    for (let begin = 0; begin < part; begin += stride) {
      for (let out = 0; out < factor; out++) {
        for (let k = 0; k < stride; k++) {
          let sumRe = 0;
          let sumIm = 0;
          for (let place = begin; place < half; place += part) {
            const turn = (out * place) % half;
            const at = place + k;
            sumRe += re[at] * cos[turn] - im[at] * sin[turn];
            sumIm += re[at] * sin[turn] + im[at] * cos[turn];
          }
          const to = factor * begin + out * stride + k;
          nextRe[to] = sumRe;
          nextIm[to] = sumIm;
        }
      }
    }
  }
}

// Fours, then prime numbers.
function factorsOf(size) {
  const found = [];
  let rest = size;
  for (; rest % 4 === 0; rest /= 4) found.push(4);
  for (let factor = 2; rest > 1; factor++) {
    for (; rest % factor === 0; rest /= factor) found.push(factor);
  }
  return found;
}

// The first `count` powers of exp(-2 pi i / size): cosines and sines.
function roots(size, count) {
  const angles = Float64Array.from({ length: count }, (_, k) => (-2 * Math.PI * k) / size);
  return [angles.map(Math.cos), angles.map(Math.sin)];
}
