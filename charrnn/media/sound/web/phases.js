// Phases for magnitudes, and the sound, by the method of charrnn/media/sound/phase.py in smaller
// blocks: phase-gradient heap integration, then the fast Griffin-Lim algorithm.

const HANN = 0.25645; // times n_fft squared: width of the Gaussian that is most like the window
const TOLERANCE = 1e-3; // bins below this fraction of the loudest in a block get random phases
const MOMENTUM = 0.99; // of the fast Griffin-Lim algorithm
const TINY = 1e-12;
const LEAST_WINDOW = 1e-3; // least sum of squared windows, which the sound is divided by

class PhaseStream {
  // codec: { n_fft, hop, bins, rounds, block, ahead }: frames that become sound at a time, and
  // those after them that are worked on with them, and again with the next block.
  constructor(codec, fft, noise) {
    const { n_fft: size, hop, bins, block, ahead } = codec;
    Object.assign(this, { codec, fft, noise, size, hop, bins });
    this.most = size / hop - 1; // frames that a new one overlaps
    const most = this.most + block + ahead;
    for (const name of ["target", "re", "im", "lastRe", "lastIm"]) {
      this[name] = new Float32Array(most * bins);
    }
    for (const name of ["phases", "logs", "along"]) this[name] = new Float64Array(most * bins);
    this.sound = new Float32Array(size + (most - 1) * hop);
    this.fixed = new Float32Array(this.sound.length);
    this.newRe = new Float64Array(bins);
    this.newIm = new Float64Array(bins);
    this.heap = new Heap(2 * bins);
    this.past = 0; // frames whose phases are known
    this.count = 0; // all frames
    this.toDrop = size / 2; // samples before the centre of the first frame
  }

  get isFull() {
    return this.count - this.past >= this.codec.block + this.codec.ahead;
  }

  // Where the magnitudes of the next frame go, (bins,).
  next() {
    const at = this.count++ * this.bins;
    return this.target.subarray(at, at + this.bins);
  }

  // Gives the sound that the next blocks do not change.  Yields between parts of the work.
  *convert() {
    const { past, count, bins, hop, sound, fixed } = this;
    const { rounds, block } = this.codec;
    const weights = this.weights(count);
    if (this.target.subarray(0, count * bins).some((value) => value > 0)) {
      this.integrate();
      yield;
      this.lastRe.set(this.re);
      this.lastIm.set(this.im);
      fixed.fill(0);
      this.overlap(fixed, 0, past);
      for (let round = 0; round < rounds; round++) {
        this.improve(weights);
        yield;
      }
    } else {
      this.re.fill(0);
      this.im.fill(0);
    }
    sound.fill(0);
    this.overlap(sound, 0, past + block);
    const begin = past * hop + Math.min(this.toDrop, block * hop);
    const end = (past + block) * hop;
    this.toDrop -= begin - past * hop;
    this.forget(past + block);
    return sound.subarray(begin, end).map((sample, k) => sample / weights[begin + k]);
  }

  // Adds the windowed frames of the spectrum to a sound.
  overlap(sound, first, end) {
    const { fft, re, im, bins, hop } = this;
    for (let frame = first; frame < end; frame++) {
      fft.addInverse(re, im, frame * bins, sound, frame * hop);
    }
  }

  // The overlapping squared windows of `count` frames.
  weights(count) {
    const { size, hop } = this;
    const { window } = this.fft;
    const weights = new Float32Array(size + (count - 1) * hop);
    for (let at = 0; at < count * hop; at += hop) {
      for (let k = 0; k < size; k++) weights[at + k] += window[k] * window[k];
    }
    return weights.map((weight) => Math.max(weight, LEAST_WINDOW));
  }

  // A round of the fast Griffin-Lim algorithm.
  improve(weights) {
    const { past, count, bins, hop, fft, sound, newRe, newIm } = this;
    const { target, re, im, lastRe, lastIm } = this;
    sound.set(this.fixed);
    this.overlap(sound, past, count);
    for (let k = past * hop; k < weights.length; k++) sound[k] /= weights[k];
    for (let frame = past; frame < count; frame++) {
      fft.forward(sound, frame * hop, newRe, newIm, 0); // the spectrum of an actual sound
      for (let k = 0, at = frame * bins; k < bins; k++, at++) {
        const x = newRe[k] + MOMENTUM * (newRe[k] - lastRe[at]);
        const y = newIm[k] + MOMENTUM * (newIm[k] - lastIm[at]);
        lastRe[at] = newRe[k];
        lastIm[at] = newIm[k];
        const factor = target[at] / Math.max(Math.sqrt(x * x + y * y), TINY);
        re[at] = x * factor;
        im[at] = y * factor;
      }
    }
  }

  // Keeps what the next block needs: the frames before `end` that it overlaps, and those from `end`
  // on, whose phases are found again.
  forget(end) {
    const { bins, count, re, im, target } = this;
    const first = Math.max(0, end - this.most);
    for (const part of [re, im, target]) part.copyWithin(0, first * bins, count * bins);
    this.past = end - first;
    this.count = count - first;
    for (let k = 0; k < this.past * bins; k++) target[k] = Math.hypot(re[k], im[k]);
  }

  // Sets the spectrum of all frames that are not past: the phases come from integrating the
  // gradient of the phase, which is that of the log magnitude.
  integrate() {
    const { past, count, bins, size, hop, target, re, im, phases, logs, along } = this;
    const width = (HANN * size) / hop;
    let loudest = 0;
    for (let at = 0; at < count * bins; at++) {
      logs[at] = Math.log(Math.max(target[at], TINY));
      loudest = Math.max(loudest, target[at]);
    }
    for (let at = 0; at < past * bins; at++) phases[at] = Math.atan2(im[at], re[at]);
    for (let at = 0; at < count * bins; at++) {
      const k = at % bins;
      const slope = difference(logs, at, 1, k > 0, k < bins - 1);
      along[at] = (2 * Math.PI * hop * k) / size + slope / width;
    }
    // The time origin of a frame is its first sample and not its centre, which adds pi to each step
    // from bin to bin.
    const up = (at) => {
      const frame = Math.floor(at / bins);
      const slope = (place) => difference(logs, place, bins, frame > 0, frame < count - 1);
      return Math.PI - (width * (slope(at) + slope(at + 1))) / 2;
    };
    for (let frame = past; frame < count; frame++) {
      this.spread(frame, TOLERANCE * loudest, up);
      for (let at = frame * bins; at < (frame + 1) * bins; at++) {
        re[at] = target[at] * Math.cos(phases[at]);
        im[at] = target[at] * Math.sin(phases[at]);
      }
    }
  }

  // Finds the phases of a frame's loud bins, each from the frame before or from an adjacent bin,
  // whichever is louder; a group of loud bins that cannot be reached begins at its loudest one,
  // with a random phase, which quiet bins have as well.
  spread(frame, least, up) {
    const { bins, target, phases, along, heap, noise } = this;
    const here = frame * bins;
    const before = here - bins;
    const left = new Uint8Array(bins); // the loud bins that have no phase yet
    heap.clear();
    for (let k = 0; k < bins; k++) {
      phases[here + k] = 2 * Math.PI * noise.uniform();
      if (target[here + k] < least) continue;
      left[k] = 1;
      // A bin of the frame before has the number bins + k.
      if (frame && target[before + k] >= least) heap.push(target[before + k], bins + k);
    }
    const reach = (k, phase) => {
      if (!left[k]) return;
      left[k] = 0;
      phases[here + k] = phase;
      heap.push(target[here + k], k);
    };
    for (;;) {
      while (heap.size) {
        const k = heap.pop();
        if (k >= bins) {
          const turn = (along[before + k - bins] + along[here + k - bins]) / 2;
          reach(k - bins, phases[before + k - bins] + turn);
          continue;
        }
        if (k + 1 < bins && left[k + 1]) reach(k + 1, phases[here + k] + up(here + k));
        if (k > 0 && left[k - 1]) reach(k - 1, phases[here + k] - up(here + k - 1));
      }
      let start = -1;
      for (let k = 0; k < bins; k++) {
        if (left[k] && (start < 0 || target[here + k] > target[here + start])) start = k;
      }
      if (start < 0) return;
      reach(start, phases[here + start]);
    }
  }
}

// The slope of values at a place: between its neighbours, or at an edge to the only one.
function difference(values, at, step, hasLess, hasMore) {
  const less = hasLess ? at - step : at;
  const more = hasMore ? at + step : at;
  const span = hasLess + hasMore;
  return span ? (values[more] - values[less]) / span : 0;
}

// Numbers in the order of their keys, the largest key first.
class Heap {
  constructor(most) {
    this.keys = new Float64Array(most + 1);
    this.items = new Int32Array(most + 1);
    this.size = 0;
  }

  clear() {
    this.size = 0;
  }

  push(key, item) {
    const { keys, items } = this;
    let at = this.size++;
    while (at) {
      const parent = (at - 1) >> 1;
      if (keys[parent] >= key) break;
      keys[at] = keys[parent];
      items[at] = items[parent];
      at = parent;
    }
    keys[at] = key;
    items[at] = item;
  }

  pop() {
    const { keys, items } = this;
    const found = items[0];
    const key = keys[--this.size];
    const item = items[this.size];
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && keys[child + 1] > keys[child]) child++;
      if (keys[child] <= key) break;
      keys[at] = keys[child];
      items[at] = items[child];
      at = child;
    }
    keys[at] = key;
    items[at] = item;
    return found;
  }
}
