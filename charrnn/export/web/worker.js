// The worker: computes a few milliseconds at a time, so that it can be stopped.  Scripts after this
// one add to `answers`, and define workPart(until), which does a part of the work.

const SLICE_MS = 50; // then messages are looked at
let network;
let codec; // what the page knows of it
let job = null; // what is made, or was: it can go on
let isWorking = false;
let timer = null;
let ready = Promise.resolve();

onmessage = ({ data }) => {
  ready = ready.then(() => answers[data.kind](data)).catch(fail);
};

function fail(error) {
  isWorking = false;
  job = null; // it cannot go on
  postMessage({ kind: "failed", why: error.message || String(error) });
}

const answers = {
  async model(given) {
    codec = given.codec;
    network = await Network.load(given.model);
    postMessage({ kind: "ready" });
  },
  stop() {
    isWorking = false;
    postMessage({ kind: "stopped", id: job?.id });
  },
};

function begin() {
  timer ??= setTimeout(work);
  isWorking = true;
}

function work() {
  const until = performance.now() + SLICE_MS;
  timer = null;
  try {
    while (isWorking && performance.now() < until) workPart(until);
  } catch (error) {
    fail(error);
  }
  if (isWorking) timer ??= setTimeout(work);
}
