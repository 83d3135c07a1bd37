// The worker of pages whose models draw symbols: texts, tunes.

Object.assign(answers, {
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
});

function open() {
  job.text = sampled(network, codec, job.settings, job.prime, job.seed, job.index);
  job.left = job.length;
}

// Writes until then, at most to the end of a text, and tells the page what it has written.
function workPart(until) {
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
  isWorking = false;
  postMessage({ kind: "finished", id: job.id });
}
