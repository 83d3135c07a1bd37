// The page: plays sound while it is made.

const MOST_S = 600; // made at a time
const MOST_TEMPERATURE = 4; // more is nothing but noise, and loud
const TOLD_MS = 1000; // between two changes of the status

function soundPage() {
  const data = openPage();
  const { rate } = data.codec;
  const { temperature, seed } = defaultFields(data.sampling, "sound");
  const hint = "seconds at a time";
  const length = { name: "length", title: "Length", hint, value: data.length, least: 1 };
  const most = Math.max(MOST_TEMPERATURE, ...data.sampling.temperature);
  const fields = [{ ...temperature, most }, seed, { ...length, most: MOST_S }];
  const settings = new Settings(fields, changed);
  const picture = new Picture(data);
  const speaker = new Speaker(rate, tell, ended);

  // What is made, or was last.
  // { id, key, temperature, seed, pieces, made, wanted, speed }, in samples
  let run = null;
  let latest = 0; // id of the last run
  let frame = null; // of the browser, that will be drawn
  let toldAt = -Infinity; // when the status was changed
  let linkTimer = null;

  const go = button("Play", "Space; Escape stops", () => (speaker.isPlaying ? stop() : play()));
  go.className = "main";
  const again = button("From the start", "Plays what there is once more", () => listen(0));
  const another = button("Another", "Plays with another seed", () => {
    settings.set("seed", newSeed());
    play();
  });
  const file = button("Save WAV", "Saves what has been made", () => {
    const name = data.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "sound";
    save(`${name}-${run.seed}.wav`, wavOf(joined(), rate), "audio/wav");
  });
  const copy = async () => {
    status.textContent = await copied(toLink());
  };
  const link = button("Link", "Copies the address of this page, with the settings", copy);
  const status = make("p.status", { role: "status" }, "Loading the network …");
  at("main").append(
    make("div.sheet", picture.element),
    make("div.bar", go, again, another, file, link, status),
    make("div.settings", settings.elements),
    alsoLine(data),
  );

  // --- playing

  const seconds = (samples) => samples / rate;
  const end = () => Math.min(run.made, run.wanted);
  const keyOf = () => JSON.stringify([settings.values("temperature"), settings.value("seed")]);
  const canGoOn = () => run !== null && run.key === keyOf();

  // Goes on where it stopped, for longer if that was the end, or makes something new.
  function play() {
    stop();
    settings.tidy();
    const samples = settings.value("length") * rate;
    if (!canGoOn()) begin();
    if (speaker.heard >= run.wanted) run.wanted += samples;
    else run.wanted = Math.max(run.wanted, samples);
    listen(speaker.heard);
  }

  function begin() {
    const message = { temperature: settings.values("temperature"), seed: settings.value("seed") };
    const id = ++latest;
    run = { id, key: keyOf(), ...message, pieces: [], made: 0, wanted: 0, speed: 1 };
    speaker.heard = 0;
    picture.clear();
  }

  function listen(from) {
    request(run);
    speaker.play(run, from);
    toldAt = -Infinity;
    tell();
    changed();
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(follow);
  }

  // The worker goes on until there is what is wanted.
  function request({ id, temperature, seed, made, wanted }) {
    if (made < wanted) worker.postMessage({ kind: "make", id, temperature, seed, samples: wanted });
  }

  function stop() {
    if (!speaker.isPlaying) return;
    speaker.stop();
    worker.postMessage({ kind: "stop" });
    ended();
  }

  function ended() {
    toldAt = -Infinity;
    tell();
    changed();
    picture.show(seconds(speaker.heard), seconds(end()));
  }

  // Shows what is heard, until it has stopped.
  function follow() {
    if (!speaker.isPlaying) return;
    picture.show(seconds(speaker.place), seconds(end()));
    frame = requestAnimationFrame(follow);
  }

  // The mean of the last blocks.  Before the first one the network reads a beginning, and the
  // browser compiles.  If frames overlap much, the first have no sound.
  function speedAfter(count, speed) {
    if (!speed) return run.speed;
    if (count === 1) return 2 * speed;
    return count === 2 ? speed : 0.8 * run.speed + 0.2 * speed;
  }

  // Says how much there is, and how fast it is made.
  function tell() {
    if (!run || performance.now() - toldAt < TOLD_MS) return;
    toldAt = performance.now();
    if (!run.made) {
      status.textContent = "Making the first sound …";
      return;
    }
    const speed = run.speed.toFixed(run.speed < 10 ? 1 : 0);
    const made = `${seconds(end()).toFixed(1)} of ${seconds(run.wanted)} s made`;
    const slow = `this computer makes ${speed} seconds of sound a second, so it waits for more`;
    const fast = `${speed} times as fast as it plays`;
    const isSlow = speaker.isWaiting && run.speed < SPEED_MARGIN;
    status.textContent = `${made}, ${isSlow ? slow : fast}`;
  }

  // --- what the worker says

  const worker = startWorker(data.codec, {
    ready() {
      if (!run) status.textContent = "";
      document.body.dataset.ready = "";
      changed();
    },
    made({ id, sound, columns, ms, isLast }) {
      if (run?.id !== id) return;
      run.pieces.push({ at: run.made, sound });
      run.made += sound.length;
      picture.columns.push(...columns);
      const count = run.pieces.length;
      run.speed = speedAfter(count, sound.length / rate / (ms / 1000));
      speaker.feed();
      if (isLast || count === 1) toldAt = -Infinity;
      tell();
      changed();
    },
    stopped() {},
    failed({ why }) {
      speaker.stop();
      run = null;
      status.textContent = visible(`This does not work: ${why}`);
      changed();
    },
  });

  // --- the rest of the page

  // Something has changed that the buttons or the link depend on.
  function changed() {
    const isPlaying = speaker.isPlaying;
    go.textContent = isPlaying ? "Stop" : canGoOn() ? "Go on" : "Play";
    go.setAttribute("aria-keyshortcuts", isPlaying ? "Escape Space" : "Space");
    go.disabled = another.disabled = document.body.dataset.ready === undefined;
    again.disabled = file.disabled = !run?.made;
    document.body.classList.toggle("playing", isPlaying);
    clearTimeout(linkTimer);
    linkTimer = setTimeout(toLink, 300);
  }

  function toLink() {
    const wanted = canGoOn() ? seconds(run.wanted) : 0;
    return settings.toLink({ length: Math.max(wanted, settings.value("length")) });
  }

  function joined() {
    const all = new Float32Array(end());
    for (const { at, sound } of run.pieces) all.set(sound.subarray(0, all.length - at), at);
    return all;
  }

  addEventListener("keydown", (event) => {
    const isFree = !event.target.closest?.("input, button, a");
    if (event.key === "Escape") stop();
    if (event.key !== " " || !isFree || event.repeat) return;
    event.preventDefault();
    go.click();
  });
  addEventListener("hashchange", ({ newURL }) => {
    stop();
    settings.fromLink(new URL(newURL).hash);
  });
  settings.fromLink(location.hash);
}

soundPage();
