// The worker: draws texts, or what else consists of symbols, a few milliseconds at a time, so that it can be stopped.

const SLICE_MS = 50; // then messages are looked at
let network;
let codec; // the start, the end, what is never written, and what rules need
let job = null; // what is written, or was: it can go on
let isWriting = false;
let timer = null;
let ready = Promise.resolve();

onmessage = ({ data }) => {
  ready = ready.then(() => answers[data.kind](data)).catch(fail);
};

function fail(error) {
  isWriting = false;
  postMessage({ kind: "failed", why: error.message || String(error) });
}

const answers = {
  async model(given) {
    codec = given.codec;
    network = await Network.load(given.model);
    postMessage({ kind: "ready" });
  },
  // Writes texts: { id, prime, settings, seed, first, count, length }.
  write(given) {
    job = { ...given, index: given.first };
    open();
    begin();
  },
  // Goes on with the text, as if its length had been larger.
  more({ length }) {
    job.left = length;
    begin();
  },
  stop() {
    isWriting = false;
    postMessage({ kind: "stopped", id: job?.id });
  },
};

function begin() {
  timer ??= setTimeout(work);
  isWriting = true;
}

function open() {
  job.text = sampled(network, codec, job.settings, job.prime, job.seed, job.index);
  job.left = job.length;
}

function work() {
  const until = performance.now() + SLICE_MS;
  timer = null;
  try {
    while (isWriting && performance.now() < until) writePart(until);
  } catch (error) {
    fail(error);
  }
  if (isWriting) timer ??= setTimeout(work);
}

// Writes until then, at most to the end of a text, and tells the page what it has written.
function writePart(until) {
  const part = { kind: "written", id: job.id, index: job.index, steps: [], nats: [] };
  let isWhole = !job.left;
  while (!isWhole && performance.now() < until) {
    const { value } = job.text.next();
    if (!value) continue;
    part.steps.push(value.step);
    part.nats.push(value.nats);
    job.left--;
    isWhole = !job.left || value.step === codec.end;
  }
  postMessage(part);
  if (!isWhole) return;
  job.index++;
  if (job.index < job.first + job.count) {
    open();
    return;
  }
  isWriting = false;
  postMessage({ kind: "finished", id: job.id });
}
