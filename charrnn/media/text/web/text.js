// The page: writes with the network on a sheet, or a list of texts.

const LIVE_MS = 400; // after a key, until it is written from there
const FRAME_MS = 30; // between two changes of the text; more where they take long

function fieldsOf({ sampling, length, unit, documents }) {
  const { temperature, top_p, seed } = defaultFields(sampling, "text");
  const often = `${unit}s, ${documents ? "at most, of each text" : "at a time"}`;
  const long = { name: "length", title: "Length", hint: often, value: length, least: 1, most: 1e6 };
  const many = { name: "texts", title: "Number", hint: "texts at a time", value: 20 };
  const fields = [temperature, top_p, seed, long];
  return documents ? [...fields, { ...many, least: 1, most: 1000 }] : fields;
}

function main() {
  const data = openPage();
  const codec = new Codec(data.codec);
  const full = Math.ceil(1.3 * Math.log(codec.symbols.length + 1)); // nats of the full colour
  const isList = codec.end !== null;
  const paper = isList ? new List(edited) : new Sheet(edited);
  const settings = new Settings(fieldsOf(data), changed);
  document.body.classList.toggle("fixed", data.is_fixed_width);
  document.body.classList.toggle("lists", isList);

  // What is written, or was last.
  let run = null; // { id, key, prime, before, message, texts, wanted, since, count, isEdited }
  let latest = 0; // id of the last run
  let isWriting = false;
  let undone = null; // the text before a run that has replaced its end
  const waiting = new Map(); // pieces that are not on the page yet, by the index of their text
  let [timer, frameMs, linkTimer, liveTimer] = [null, FRAME_MS, null, null];

  const go = button("Write", "Ctrl + Enter; Escape stops", () =>
    isWriting ? stop() : writeOnce(),
  );
  go.className = "main";
  const again = button("Again", "Writes with these settings after the same beginning", rewrite);
  const another = button("Another", "Writes with another seed after the same beginning", () => {
    settings.set("seed", newSeed());
    rewrite();
  });
  const undo = button("Undo", "Brings back what stood after the cursor", () => {
    stop();
    if (run) paper.text = run.before; // what comes back was typed
    run = null;
    paper.field.focus(); // else Chromium 150 moves the cursor
    [paper.text, undone] = [undone, null];
    changed();
  });
  const copies = button("Copy", "Copies the text", () => copy(paper.text));
  const whatLink = "Copies the address of this page, with the beginning and the settings";
  const link = button("Link", whatLink, () => copy(toLink()));
  const status = make("p.status", { role: "status" }, "Loading the network …");
  const leftOut = make("p.hint", { id: "left-out", role: "status" });
  const ramp = make("span.legend", "expected", make("span.ramp"), "surprising");
  const turning = { type: "checkbox", role: "switch", change: colour };
  const colours = make("input", { id: "colours" }, turning);
  const live = make("input", { id: "live" }, { type: "checkbox", role: "switch" });
  const liveLabel = make("label", { for: "live" }, "Write while I type");
  const label = isList ? "Beginning of every text" : "Your text, and how it goes on";
  at("main").append(
    make("label", { for: "beginning" }, label),
    paper.element,
    leftOut,
    make("div.bar", go, again, another, undo, copies, link, status),
    make("div.switch", colours, make("label", { for: "colours" }, "Colour by surprise"), ramp),
    isList ? "" : make("div.switch", live, liveLabel),
    make("div.settings", settings.elements),
    alsoLine(data),
  );

  // --- writing

  // All that the next step depends on; of a sheet, the beginning is what the run has begun with.
  function keyOf(prime) {
    const names = ["temperature", "top_p", "seed"];
    return JSON.stringify([prime, ...names.map((name) => settings.values(name))]);
  }

  // Whether writing can go on as if the length, or the number of texts, had been larger.
  function canGoOn() {
    if (!run || run.isEdited || (!isList && !paper.isAtEnd)) return false;
    return run.key === keyOf(isList ? paper.prime : run.prime);
  }

  function writeOnce() {
    paper.stays = false;
    write(canGoOn());
  }

  function write(isGoingOn) {
    flush();
    settings.tidy();
    const length = settings.value("length");
    if (!isGoingOn) begin();
    Object.assign(run, { wanted: run.wanted + length, since: performance.now(), count: 0 });
    if (isGoingOn && !isList) {
      worker.postMessage({ kind: "more", length });
    } else {
      const count = isList ? settings.value("texts") : 1;
      const first = run.texts.length;
      worker.postMessage({ kind: "write", ...run.message, first, count, length });
    }
    isWriting = true;
    status.textContent = "Writing …";
    changed();
  }

  // A new run, after the cursor.
  function begin() {
    if (!isList && !paper.stays && !paper.isAtEnd) undone = paper.text;
    paper.cut();
    const { prime } = paper;
    const { steps, unknown } = codec.primed(prime);
    tell(unknown);
    const [top_p, seed] = [settings.value("top_p"), settings.value("seed")];
    const sampling = { ...data.sampling, temperature: settings.values("temperature"), top_p };
    const message = { id: ++latest, prime: steps, settings: sampling, seed };
    const before = paper.field.value;
    run = { id: latest, key: keyOf(prime), prime, before, message, texts: [], wanted: 0 };
  }

  // Writes once more after the beginning of the last run, if that still stands there.
  function rewrite() {
    flush();
    if (!isList && run && paper.text.startsWith(run.before)) {
      undone = paper.text;
      paper.text = run.before;
    }
    write(false);
  }

  function stop() {
    if (isWriting) worker.postMessage({ kind: "stop" });
  }

  // Something was typed.
  function edited() {
    if (!isList) {
      stop();
      waiting.clear(); // what is typed belongs to what stands on the page
      if (run) run.isEdited = true;
      clearTimeout(liveTimer);
      if (live.checked) liveTimer = setTimeout(writeLive, LIVE_MS);
    }
    tell(codec.primed(paper.typed).unknown);
    changed();
  }

  // Writes after the cursor, which stays where it is: what is typed next replaces it.
  function writeLive() {
    paper.stays = true;
    write(false);
  }

  function tell(unknown) {
    const how = codec.name === "word" ? "read as <unk>" : "left out";
    const names = unknown.slice(0, 20).map(visible).join(" ").replaceAll("\n", "↵");
    leftOut.textContent = names && `The network does not know this, it is ${how}: ${names}`;
  }

  // --- what the worker says

  const answers = {
    ready() {
      status.textContent = "";
      document.body.dataset.ready = "";
      changed();
    },
    written({ id, index, steps, nats }) {
      if (run?.id !== id || (run.isEdited && !isList)) return;
      run.texts[index] ??= { decoder: codec.primed(run.prime).decoder, nats: 0 };
      const text = run.texts[index];
      if (!waiting.has(index)) waiting.set(index, []);
      steps.forEach((step, at) => {
        text.nats += nats[at];
        if (step === codec.end) return;
        const written = visible(text.decoder.push(step).replaceAll("\r", ""));
        if (!written) return; // a part of a character
        waiting.get(index).push({ text: written, nats: text.nats });
        text.nats = 0;
      });
      run.count += steps.length;
      timer ??= setTimeout(flush, frameMs);
    },
    finished: ended,
    stopped: (said) => ended(said, "Stopped after "),
    failed({ why }) {
      if (run) run.isEdited = true; // it cannot go on
      ended({ id: run?.id });
      status.textContent = visible(`This does not work: ${why}`);
    },
  };
  const { start, end } = codec;
  const worker = startWorker({ start, end, never: data.never }, answers);

  // Puts on the page what waits for it.
  function flush() {
    clearTimeout(timer);
    timer = null;
    const begun = performance.now();
    for (const [index, pieces] of waiting) paper.add(index, pieces, run.prime);
    waiting.clear();
    frameMs = Math.max(FRAME_MS, 4 * (performance.now() - begun));
  }

  function ended({ id }, how = "") {
    if (!isWriting || run?.id !== id) return;
    flush();
    isWriting = false;
    const seconds = (performance.now() - run.since) / 1000;
    const count = (value) => Math.round(value).toLocaleString("en");
    const speed = seconds > 0.2 ? `, ${count(run.count / seconds)} a second` : "";
    status.textContent = `${how}${count(run.count)} ${data.unit}s${speed}`;
    changed();
  }

  // --- the rest of the page

  // Something has changed that the buttons or the link depend on.
  function changed() {
    let name = isList && canGoOn() ? "More" : "Write";
    if (!isList && paper.isWritten) name = "Go on";
    if (!isList && !paper.isAtEnd) name += " from the cursor";
    go.textContent = isWriting ? "Stop" : name;
    go.setAttribute("aria-keyshortcuts", isWriting ? "Escape" : "Control+Enter");
    go.disabled = another.disabled = document.body.dataset.ready === undefined;
    undo.hidden = undone === null || isWriting;
    again.disabled = !run || (!run.isEdited && run.key === keyOf(run.prime));
    document.body.classList.toggle("writing", isWriting);
    clearTimeout(linkTimer);
    linkTimer = setTimeout(toLink, 300);
  }

  function toLink() {
    const length = settings.value("length");
    if (!run || run.isEdited || isList) return settings.toLink({ prime: paper.prime });
    return settings.toLink({ prime: run.prime, length: Math.max(run.wanted, length) });
  }

  function fromLink(hash) {
    const prime = settings.fromLink(hash).get("prime")?.slice(0, MOST_PRIME);
    if (prime === undefined) return;
    stop();
    clearTimeout(timer);
    waiting.clear();
    [run, undone, timer, isWriting, status.textContent] = [null, null, null, false, ""];
    paper.text = ""; // nothing that stands there was written
    paper.text = prime;
    tell(codec.primed(paper.typed).unknown);
    changed();
  }

  function colour() {
    flush();
    paper.full = colours.checked ? full : 0;
    ramp.hidden = !colours.checked;
    paper.paint();
  }

  async function copy(text) {
    status.textContent = await copied(text);
  }

  addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const isLine = isList && event.target === paper.field && !codec.index.has("\n");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || isLine)) {
      event.preventDefault();
      if (!isWriting) go.click();
    }
    if (event.key === "Escape") stop();
  });
  document.addEventListener("selectionchange", () => {
    if (!isWriting) changed();
  });
  addEventListener("hashchange", ({ newURL }) => fromLink(new URL(newURL).hash));
  colour();
  changed();
  fromLink(location.hash);
}

main();
