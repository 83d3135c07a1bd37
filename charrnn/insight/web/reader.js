// The page of `charrnn insight`.  Strings of the report come from a corpus or from a stranger's
// model: they get into the page only as text nodes and attributes that hold text.

// The worker.  It reads texts with the network (charrnn/export/engine.js, which stands before it)
// and keeps the state after every step: the values of all units, and where reading can go on.
function reader() {
  const LIKELIEST = 8; // alternatives that are told
  const BEFORE = 40; // steps before a prediction whose effect is measured
  const CHUNK = 64; // steps that are told at a time
  const SLICE_MS = 25; // then messages are looked at
  const texts = new Map();
  const copies = (parts) => parts?.map((part) => part.slice());
  const copyOf = ({ h, c }) => ({ h: copies(h), c: copies(c) });
  let network;
  let beginning; // the state before every text
  let watched = null; // a unit: layer, unit, part
  let shown; // the text on the page
  let jobs = []; // generators; the last is run first
  let ready = Promise.resolve();

  onmessage = ({ data }) => {
    ready = ready
      .then(() => answers[data.kind](data))
      .catch((error) => postMessage({ kind: "failed", why: String(error) }));
  };

  const answers = {
    async model({ model, start }) {
      network = await Network.load(model);
      beginning = network.begin(-1);
      for (const step of start) network.advance(beginning, step);
    },
    // Reads a text, or goes on where it begins to differ from its last version.  The page knows
    // the first `known` predictions.
    read({ text, version, steps, known }) {
      const old = texts.get(text) || { steps: [], states: [], predictions: [] };
      let same = 0;
      while (same < old.states.length && old.steps[same] === steps[same]) same++;
      const [states, predictions] = [old.states.slice(0, same), old.predictions.slice(0, same)];
      shown = { text, version, steps, states, predictions };
      texts.set(text, shown);
      tell(shown, known);
      tellValues(shown, 0);
      begin(`read ${text}`, read(shown));
    },
    watch({ unit }) {
      watched = unit;
      if (shown) tellValues(shown, 0);
    },
    explain({ step }) {
      begin("explain", explain(shown, step));
    },
  };

  function begin(name, steps) {
    if (!jobs.length) setTimeout(work);
    jobs = [...jobs.filter((job) => job.name !== name), { name, steps }];
  }

  function work() {
    const until = performance.now() + SLICE_MS;
    while (jobs.length && performance.now() < until) {
      const job = jobs.at(-1);
      if (job.steps.next().done) jobs = jobs.filter((other) => other !== job);
    }
    if (jobs.length) setTimeout(work);
  }

  function* read(text) {
    const { steps, states, predictions } = text;
    let state = states.at(-1) || beginning;
    const logits = network.logits(state).slice();
    let told = states.length;
    for (let step = told; step < steps.length; step++) {
      predictions.push(prediction(logits, steps[step]));
      state = copyOf(state);
      logits.set(network.step(state, steps[step]));
      states.push(state);
      if (states.length === told + CHUNK || states.length === steps.length) {
        tell(text, told);
        tellValues(text, told);
        told = states.length;
      }
      yield;
    }
  }

  function tell({ text, version, predictions }, from) {
    postMessage({ kind: "read", text, version, from, chunk: predictions.slice(from) });
  }

  function tellValues({ text, version, states }, from) {
    if (!watched) return;
    const { layer, unit, part } = watched;
    const values = states.slice(from).map((state) => state[part][layer - 1][unit]);
    postMessage({ kind: "values", text, version, from, values, unit: watched });
  }

  // How much harder a step would be to predict if the network had read the mean of all symbols in
  // place of one before it.
  function* explain({ text, version, steps, states }, step) {
    const before = (place) => (place ? states[place - 1] : beginning);
    const { nats } = prediction(network.logits(before(step)), steps[step]);
    for (let place = step - 1; place >= Math.max(0, step - BEFORE); place--) {
      const state = copyOf(before(place));
      network.advance(state, -1);
      for (let next = place + 1; next < step; next++) network.advance(state, steps[next]);
      const change = prediction(network.logits(state), steps[step]).nats - nats;
      postMessage({ kind: "explained", text, version, step, place, change });
      yield;
    }
  }

  // -log p of a symbol, and the likeliest symbols with their probabilities.
  function prediction(logits, symbol) {
    const log = logSum(logits);
    const best = [];
    for (let each = 0; each < logits.length; each++) {
      if (best.length === LIKELIEST && logits[each] <= logits[best.at(-1)]) continue;
      let at = best.length;
      while (at && logits[best[at - 1]] < logits[each]) at--;
      best.splice(at, 0, each);
      best.length = Math.min(best.length, LIKELIEST);
    }
    const chances = best.map((each) => Math.exp(logits[each] - log));
    return { nats: log - logits[symbol], best, chances };
  }
}
