// The page: plays tunes of the network, also ones that somebody has begun on the keyboard.

const MOST_EVENTS = 20_000; // of a tune
const MOST_PRIME = 2000; // of a beginning in a link
const MOST_WAV_S = 1800;

function fieldsOf({ sampling, length, bar }) {
  const { temperature, top_p, seed } = defaultFields(sampling, "tune");
  const long = { title: "Length", hint: `${bar}s, at most; many tunes end before` };
  const fast = { title: "Tempo", hint: "percent", range: [50, 200], step: 5 };
  return [
    temperature,
    top_p,
    { name: "tempo", value: 100, least: 10, most: 1000, ...fast },
    seed,
    { name: "length", value: length, least: 1, most: 10_000, ...long },
  ];
}

function counted(number, name) {
  return `${number.toLocaleString("en")} ${name}${number === 1 ? "" : "s"}`;
}

function startNotes() {
  const data = openPage();
  const { codec, keyboard } = data;
  const encoder = new Encoder(codec);
  const sounds = new Sounds(codec.parts, data.families);
  const player = new Player(sounds, changed);
  const roll = new Roll(codec.parts);
  const recorder = new Recorder();
  const settings = new Settings(fieldsOf(data), changed);

  let tune = null; // what is shown, and played
  let frame = null; // of the browser, that will be drawn
  let isRendering = false;
  let run = null; // { id, key, seed, primed, most }: how it was made; null: by hand only
  let latest = 0; // id of the last run
  let [isWriting, isReady, linkTimer] = [false, false, null];

  const go = button("Play", "Space bar; Escape stops", () => (player.tune ? stop() : play()));
  go.className = "main";
  const another = button("Another", "Another tune, by another seed", () => {
    settings.set("seed", newSeed());
    play();
  });
  const midi = button("MIDI", "Saves the tune as a MIDI file", () =>
    save(`${fileName()}.mid`, midiOf(tune, speed()), "audio/midi"),
  );
  const wav = button("WAV", "Saves its sound as a WAV file", saveWav);
  const link = button("Link", "Copies the address of this page, with all that makes the tune", () =>
    copied(toLink()).then(tell),
  );
  const status = make("p.status", { role: "status" }, "Loading the network …");
  const legend = make("p.legend");
  const clear = button("Clear", "Forgets what was played here", () => {
    recorder.clear();
    begun();
  });
  const beginning = make("p.hint", { id: "beginning", role: "status" });
  const metres = codec.events.flatMap(([kind, metre], step) =>
    kind === "bar" && metre[0] ? [[step, `${metre[0]}/${metre[1]}`]] : [],
  );
  const part = choice("Instrument", [...data.names.entries()], keyboard.part, markKeys);
  const metre = choice("Metre", metres, keyboard.metre, begun);
  const piano = new Keyboard(keyboard.lowest, keyboard.count, pressed);
  const how = "Play a few notes: by mouse, finger, or the keys Z S X D C … and Q 2 W 3 E …";
  at("main").append(
    roll.canvas,
    legend,
    make("div.bar", go, another, midi, wav, link, status),
    make(
      "section.begin",
      { "aria-labelledby": "begin" },
      make("h2", { id: "begin" }, "Begin it yourself"),
      make("p.hint", how),
      piano.element,
      make("div.line", part.element, metre.element, clear, beginning),
    ),
    make("div.settings", settings.elements),
    alsoLine(data),
  );

  // A list with a label; options: [value, name].  It is not seen if there is no choice.
  function choice(title, options, value, change) {
    const id = title.toLowerCase();
    const items = options.map(([own, name]) => make("option", { value: own }, name));
    const select = make("select", { id, change }, items);
    select.value = value;
    const element = make("span.choice", make("label", { for: id }, title), select);
    element.hidden = options.length < 2;
    const own = () => (select.value === "" ? value : Number(select.value));
    return { element, value: own, set: (other) => (select.value = other) };
  }

  // --- the tune

  const speed = () => settings.value("tempo") / 100;
  const tell = (text) => (status.textContent = text);
  const primeSteps = () => encoder.encode(recorder.notes, keyboard.tempo, metre.value());

  // All that the events depend on.
  function keyNow() {
    const names = ["temperature", "top_p", "seed", "length"];
    return JSON.stringify([primeSteps(), ...names.map((name) => settings.values(name))]);
  }

  function generate() {
    settings.tidy();
    const prime = [...codec.start, ...primeSteps()];
    tune = new Tune(codec);
    for (const step of prime) tune.push(step);
    const primed = tune.bars.length;
    const seed = settings.value("seed");
    const most = primed + settings.value("length");
    run = { id: ++latest, key: keyNow(), seed, primed, most };
    const [temperature, top_p] = [settings.values("temperature"), settings.value("top_p")];
    const sampling = { ...data.sampling, temperature, top_p };
    if (primed) sampling.min_length = Math.max(1, sampling.min_length); // as Prime.least
    const about = { settings: sampling, seed, first: 0, count: 1 };
    worker.postMessage({ kind: "write", id: run.id, prime, ...about, length: MOST_EVENTS });
    isWriting = true;
    tell("Inventing …");
    roll.show(tune, primed);
  }

  function play() {
    if (!run || run.key !== keyNow()) generate();
    player.setSpeed(speed());
    player.play(tune);
    changed();
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(follow);
  }

  function stop() {
    player.stop();
    changed();
  }

  function follow() {
    roll.draw();
    if (player.tune) frame = requestAnimationFrame(follow);
  }

  roll.place = () => (player.tune ? player.place - player.latency : -1);

  const worker = startWorker(codec, {
    ready() {
      isReady = true;
      if (!isWriting) tell("");
      document.body.dataset.ready = "";
      changed();
    },
    written({ id, steps }) {
      if (!isWriting || id !== run.id) return;
      for (const step of steps) {
        const begins = ["bar", "back", "tempo"].includes(codec.events[step][0]);
        if (step === codec.end || (begins && tune.bars.length >= run.most)) {
          finish();
          return;
        }
        tune.push(step);
      }
      if (!player.tune) roll.draw();
      showLegend();
    },
    finished: ({ id }) => isWriting && id === run.id && finish(),
    stopped() {},
    failed({ why }) {
      if (isWriting) finish();
      stop();
      run = null; // it cannot be played as if it were whole
      tell(visible(`This does not work: ${why}`));
    },
  });

  function finish() {
    worker.postMessage({ kind: "stop" });
    isWriting = false;
    tune.finish();
    const about = `${counted(tune.bars.length, data.bar)}, ${counted(tune.notes.length, "note")}`;
    tell(tune.notes.length ? about : "This tune has no notes; try another");
    roll.canvas.setAttribute("aria-label", `Piano roll: ${about}`);
    showLegend();
    changed();
    roll.draw();
  }

  function showLegend() {
    const parts = [...new Set(tune.notes.map((note) => note.part))].sort((a, b) => a - b);
    if (parts.length && legend.childNodes.length === 2 * parts.length) return;
    legend.textContent = parts.length ? "" : "Press Play, and the network invents a tune.";
    for (const own of parts) {
      const sample = make("i");
      sample.style.background = `var(--series${own % 5})`;
      legend.append(sample, data.names[own]);
    }
  }

  // --- files and the link

  function fileName() {
    const words = data.title.slice(0, 60).match(/[\p{L}\p{N}]+/gu) ?? ["tune"];
    return [...words, run?.seed ?? "own"].join("-");
  }

  async function saveWav() {
    const [own, name] = [tune, fileName()];
    if (own.seconds(own.steps) / speed() > MOST_WAV_S) {
      tell("This tune is too long for a WAV file; save it as MIDI");
      return;
    }
    isRendering = true;
    changed();
    const rendering = mixed(own, speed(), sounds);
    let [part, since] = [rendering.next(), performance.now()];
    for (; !part.done; part = rendering.next()) {
      if (performance.now() - since < BUSY_MS) continue;
      tell(`Rendering: ${Math.round(100 * part.value)}%`);
      await new Promise((done) => setTimeout(done));
      since = performance.now();
    }
    save(`${name}.wav`, wavOf(part.value, RATE), "audio/wav");
    tell("Saved");
    isRendering = false;
    changed();
  }

  function toLink() {
    return settings.toLink({ prime: primeSteps().join(".") });
  }

  function fromLink(hash) {
    const prime = settings.fromLink(hash).get("prime") ?? "";
    const steps = prime.slice(0, 8 * MOST_PRIME).split(".").slice(0, MOST_PRIME).map(Number);
    const kinds = ["bar", "at", "part", "velocity", "length", "note", "drum"];
    const known = steps.filter((step) => kinds.includes(codec.events[step]?.[0]));
    const bar = known.find((step) => codec.events[step][0] === "bar");
    if (bar !== undefined) metre.set(bar);
    const { notes } = Tune.of(codec, known);
    recorder.load(notes.filter(({ onset }) => onset < MOST_BARS * barSteps()));
    begun();
  }

  // --- the beginning

  function barSteps() {
    return codec.events[metre.value()][1][2];
  }

  function pressed(pitch) {
    if (player.tune) stop();
    const velocity = codec.velocity ?? 80;
    const note = { pitch, velocity, part: part.value() };
    const release = player.press(note);
    const bpm = codec.events[keyboard.tempo ?? -1]?.[1] ?? codec.tempo;
    const rate = (bpm / 60) * codec.perQuarter * speed();
    const now = performance.now() / 1000;
    const end = recorder.begin(note, now, rate, barSteps(), piano.held.size > 0);
    begun();
    if (!end) tell(`A beginning has at most ${MOST_BARS} bars`);
    return () => {
      release();
      end?.(performance.now() / 1000);
      if (!player.tune) begun();
    };
  }

  // What was played has changed.
  function begun() {
    const { notes } = recorder;
    const unknown = notes.filter((note) => !encoder.knows(note));
    const names = [...new Set(unknown.map(({ pitch }) => pitchName(pitch)))].join(" ");
    const left = names && `; the network does not know ${names}, which is left out`;
    const own = counted(notes.length - unknown.length, "note");
    beginning.textContent = notes.length ? `The tune begins with ${own}${left}` : "";
    clear.disabled = !notes.length;
    if (player.tune) stop();
    if (isWriting) worker.postMessage({ kind: "stop" });
    [run, isWriting] = [null, false];
    tune = Tune.of(codec, primeSteps());
    roll.show(tune, 0);
    showLegend();
    changed();
  }

  function markKeys() {
    piano.keys.forEach((key, index) => {
      const note = { pitch: keyboard.lowest + index, part: part.value() };
      key.classList.toggle("unknown", !encoder.knows(note));
    });
  }

  // --- the rest of the page

  function changed() {
    player.setSpeed(speed());
    const bpm = Math.round((tune?.tempos[0].bpm ?? codec.tempo) * speed());
    const what = data.bar === "bar" ? `: ${bpm} quarters a minute` : " of its own speed";
    at("tempo-hint").textContent = `percent${what}`;
    go.textContent = player.tune ? "Stop" : "Play";
    go.setAttribute("aria-keyshortcuts", player.tune ? "Space Escape" : "Space");
    go.disabled = another.disabled = !isReady;
    midi.disabled = !tune?.isWhole || !tune.notes.length;
    wav.disabled = midi.disabled || isRendering;
    clearTimeout(linkTimer);
    linkTimer = setTimeout(toLink, 300);
  }

  addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key !== " " || event.target.closest?.("button, input, select, a")) return;
    event.preventDefault();
    if (isReady && !event.repeat) go.click();
  });
  addEventListener("hashchange", ({ newURL }) => fromLink(new URL(newURL).hash));
  markKeys();
  fromLink(location.hash);
}

startNotes();
