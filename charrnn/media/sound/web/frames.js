// The worker of the page: draws frames and makes sound of them, a block at a time, so that it is
// heard soon.

const MOST_NUMBER = 1e6; // in a frame; with larger numbers the output has diverged

Object.assign(answers, {
  // Makes at least so many samples: { id, seed, temperature, samples }; with the id of the last
  // ones it goes on.
  make(given) {
    if (job?.id !== given.id) {
      job = { made: 0, ms: 0, blocks: blocks(network, codec, given.temperature, given.seed) };
    }
    Object.assign(job, given);
    begin();
  },
});

function workPart() {
  const begun = performance.now();
  const { value } = job.blocks.next();
  job.ms += performance.now() - begun;
  if (value) tell(value);
}

function tell({ sound, columns }) {
  const { id, ms } = job;
  job.made += sound.length;
  job.ms = 0;
  isWorking = job.made < job.samples;
  postMessage({ kind: "made", id, sound, columns, ms, isLast: !isWorking }, [sound.buffer]);
}

// Blocks of sound, with the columns of the picture, without end.  Yields undefined between parts of
// the work.
function* blocks(network, codec, temperature, seed) {
  const random = new Random(seed, 0);
  const frames = drawn(network, codec, temperature, random);
  const fft = new Fft(hann(codec.n_fft));
  const spectrum = new Spectrum(codec, network, fft, new Noise(random));
  const phases = new PhaseStream(codec, fft, new Noise(random));
  const shaped = codec.envelope && new EnvelopeStream(codec, network.tensors);
  let columns = [];
  for (let count = 0; ; ) {
    while (!phases.isFull) {
      const frame = frames.next().value;
      yield;
      if (!frame) continue;
      const magnitudes = phases.next();
      spectrum.magnitudes(frame, magnitudes);
      shaped?.next(spectrum.envelope);
      if (count++ % codec.stride === 0) columns.push(spectrum.column(magnitudes));
    }
    const made = yield* phases.convert();
    const sound = shaped ? shaped.push(made) : made;
    yield { sound: sound.map((sample) => Math.min(Math.max(sample, -1), 1)), columns };
    columns = [];
  }
}

// The frames of the network, (F,), without end; undefined while it reads what they continue, one of
// the beginnings that the codec has.  A temperature multiplies the deviation by its square root.
// The network goes on from what is drawn, and a frame has more or less of the noise in it (`kept`, a
// matrix, or a share).  Its last two numbers are not drawn: they are its position, which goes on by
// an angle.
function* drawn(network, { start, heard_noise: share, turn }, temperature, random) {
  const { size, tensors, memory } = network;
  const starts = tensors["codec.starts"];
  const first = random.integers(starts.length / (start * size)) * start;
  const noise = new Noise(random);
  const state = network.begin(-1);
  for (let row = first; row < first + start; row++) {
    network.advance(state, starts.subarray(row * size, (row + 1) * size));
    yield undefined;
  }
  const variance = tensors["head.variance"] ?? new Float32Array(size);
  const deviation = variance.map(Math.sqrt);
  const kept = tensors["codec.kept"];
  const components = kept && Math.sqrt(kept.length);
  const [cos, sin] = starts.subarray((first + start) * size - 2);
  let angle = Math.atan2(sin, cos);
  if (turn) deviation.fill(0, size - 2);
  let expected = network.logits(state);
  for (let count = 0; ; count++) {
    if (turn) {
      angle += turn;
      expected.set([Math.cos(angle), Math.sin(angle)], size - 2);
    }
    const factor = Math.sqrt(temperature[count % temperature.length]);
    const added = deviation.map((value) => factor * value * noise.normal());
    const frame = expected.map((value, k) => value + added[k]);
    if (!frame.every((value) => Math.abs(value) < MOST_NUMBER)) {
      throw new Error("what the network predicts is not finite");
    }
    if (kept) {
      memory.multiply(kept, added.slice(0, components), added.subarray(0, components));
    }
    yield expected.map((value, k) => value + (kept ? 1 : share) * added[k]);
    expected = network.step(state, frame);
  }
}
