// The text, coloured.

const MOST = 5000; // steps of a text

// Gives the content of the section, and a function that colours the text by a unit.
// found: units, as in the report; network: its sizes.
function textSection({ codec: given, passages = [], unit, network }, found, worker) {
  const codec = new StepCodec(given);
  const full = Math.ceil(1.3 * Math.log(codec.symbols.length + 1)); // nats of the full colour
  const texts = passages.map((each) => ({ ...each, steps: each.steps.slice(0, MOST) }));
  const own = { name: "Your own text", steps: [] };
  if (codec.canType) texts.push(own);
  texts.forEach((each, id) => Object.assign(each, { id, version: 0, read: [], values: [] }));
  let text; // the one on the page
  let watched = null; // the unit whose values are the colours; null: surprise
  let explained = null; // the step whose prediction is explained, and the changes by place
  let spans = [];
  let current = 0; // the step that the keyboard is at
  let told = null; // the step that is told about
  let isPlanned = false;

  const status = make("p.status", { role: "status" });
  const caption = make("p.about");
  const legend = make("div.legend");
  const detail = make("div.detail");
  const longest = codec.labels.reduce((most, each) => Math.max(most, each.length), 2);
  detail.style.setProperty("--name", `${0.65 * Math.min(longest, 12) + 0.6}rem`);
  const area = make("div.text", {
    lang: "",
    dir: "auto",
    role: "group",
    "aria-label": `The text: the arrow keys go from ${unit} to ${unit}, Enter explains one`,
    pointerover: ({ target }) => visit(target),
    focusin: ({ target }) => visit(target),
    click: ({ target }) => visit(target) && explain(target.step),
    keydown: move,
  });
  const notice = make("p.status", { id: "left-out" });
  const typed = make("textarea", {
    id: "typed",
    rows: 4,
    maxlength: MOST,
    spellcheck: false,
    dir: "auto",
    "aria-describedby": "left-out",
    input: type,
  });
  const label = make("label", { for: "typed" }, "Type or paste; it stays in this page");
  const typing = make("div.own", label, typed, notice);
  const button = (click, ...inside) => make("button", { type: "button", click }, inside);
  const tabs = texts.map((each, index) => {
    const tab = button(() => show(index), foreign(each.name));
    tab.setAttribute("role", "tab");
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = (index + by + texts.length) % texts.length;
      show(next);
      tabs[next].focus();
    });
    return tab;
  });

  // What the colours may be: surprise, units that were found, or any unit.
  const named = found.slice(0, 12);
  const choices = [null, ...named].map((each) =>
    each
      ? button(() => watch(each), foreign(each.follows), ` ${number(each.score)}`)
      : button(() => watch(null), "Surprise"),
  );
  const options = (values) => values.map((value) => make("option", { value }, String(value)));
  const layers = Array.from({ length: network.layers }, (_, index) => index + 1);
  const any = {
    layer: make("select", options(layers)),
    unit: make("input", { type: "number", min: 0, max: network.hidden - 1, value: 0 }),
    part: make("select", options(network.parts)),
  };
  const fields = Object.entries(any).map(([name, field]) => {
    field.addEventListener("input", () => {
      const most = network.hidden - 1;
      const of = Math.max(0, Math.min(most, Math.round(Number(any.unit.value)) || 0));
      watch({ layer: Number(any.layer.value), unit: of, part: any.part.value });
    });
    field.id = `any-${name}`;
    return make("span", make("label", { for: field.id }, name), " ", field);
  });

  function isWatched(chosen) {
    return ["layer", "unit", "part"].every((name) => chosen?.[name] === watched?.[name]);
  }

  function watch(chosen) {
    watched = chosen && { layer: chosen.layer, unit: chosen.unit, part: chosen.part };
    explained = null;
    for (const each of texts) each.values = [];
    for (const name in watched) {
      if (document.activeElement !== any[name]) any[name].value = watched[name];
    }
    choices.forEach((choice, index) =>
      choice.setAttribute("aria-pressed", isWatched(index ? named[index - 1] : null)),
    );
    worker.postMessage({ kind: "watch", unit: watched });
    plan();
  }

  function show(chosen) {
    text = texts[chosen];
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", index === chosen);
      tab.tabIndex = index === chosen ? 0 : -1;
    });
    typing.hidden = text !== own;
    caption.textContent = visible(text.caption);
    lay();
  }

  function type() {
    const { steps, unknown } = codec.encode(typed.value);
    const how = codec.name === "word" ? "read as <unk>" : "left out";
    const names = unknown.slice(0, 20).map(visible).join(" ");
    notice.textContent = names && `Not in the vocabulary, ${how}: ${names}`;
    let same = 0;
    while (same < steps.length && steps[same] === text.steps[same]) same++;
    text.read = text.read.slice(0, same);
    text.values = text.values.slice(0, same);
    text.steps = steps;
    text.version++;
    lay();
  }

  // Puts the text into the page and has it read.
  function lay() {
    const written = codec.written(text.steps);
    let same = 0; // what has not changed since the last key stays
    while (same < written.length && spans[same]?.textContent === written[same]) same++;
    for (const span of spans.splice(same)) span.remove();
    for (let step = same; step < written.length; step++) {
      const span = make("span.step", { tabindex: -1 }, written[step]);
      span.step = step;
      spans.push(span);
    }
    area.append(...spans.slice(same));
    for (const span of area.querySelectorAll("[tabindex='0']")) span.tabIndex = -1;
    current = 0;
    if (spans.length) spans[0].tabIndex = 0;
    told = explained = null;
    tell();
    const { id, version, steps, read } = text;
    worker.postMessage({ kind: "read", text: id, version, steps, known: read.length });
    plan();
  }

  // Paints once for everything that comes in before the next picture.
  function plan() {
    if (!isPlanned) requestAnimationFrame(paint);
    isPlanned = true;
  }

  function paint() {
    isPlanned = false;
    let amounts = text.read.map(({ nats }) => nats);
    if (explained || watched) amounts = explained ? explained.changes : text.values;
    const most =
      explained || watched
        ? amounts.reduce((size, each) => Math.max(size, Math.abs(each)), 1e-6)
        : full;
    spans.forEach((span, step) => {
      const amount = Math.max(-1, Math.min(1, (amounts[step] ?? 0) / most)).toFixed(3);
      if (span.amount !== amount) {
        span.style.setProperty("--amount", Math.abs(amount));
        span.classList.toggle("below", amount < 0);
        span.amount = amount;
      }
      span.classList.toggle("explained", step === explained?.step);
    });
    const isReading = text.read.length < spans.length;
    const share = percent(text.read.length / spans.length, 0);
    status.textContent = isReading ? `The network reads: ${share}` : "";
    nameColours(number(most));
    tell();
  }

  function nameColours(most) {
    const rare = Number(Math.exp(full).toPrecision(1)).toLocaleString("en");
    let said = ["Surprise", "0 nats: certain", `${full} nats or more: 1 in ${rare} or less`];
    if (watched) {
      const { layer, unit: of, part } = watched;
      said = [`Layer ${layer}, unit ${of}, ${part}`, `−${most}`, `+${most}`];
    }
    if (explained) {
      said = ["What the framed prediction rests on", "easier without it", "harder without it"];
      if (explained.changes.length) said[2] += `: +${most} nats`;
    }
    const ramp = make(explained || watched ? "span.ramp.both" : "span.ramp");
    legend.replaceChildren(
      make("strong", said[0]),
      make("span", said[1]),
      ramp,
      make("span", said[2]),
    );
  }

  // The pointer, the focus or a click has come to something in the text.
  function visit(target) {
    if (target.step === undefined) return false;
    told = target.step;
    tell();
    return true;
  }

  function explain(step) {
    go(step);
    if (step >= text.read.length) return;
    explained = { step, changes: [] };
    worker.postMessage({ kind: "explain", step });
    plan();
  }

  // Moves the focus.
  function go(step) {
    spans[current].tabIndex = -1;
    current = step;
    spans[step].tabIndex = 0;
    spans[step].focus();
  }

  function move(event) {
    const pressed = event.key;
    const last = spans.length - 1;
    const to = {
      ArrowRight: () => Math.min(last, current + 1),
      ArrowLeft: () => Math.max(0, current - 1),
      ArrowDown: () => inNextLine(1),
      ArrowUp: () => inNextLine(-1),
      Home: () => 0,
      End: () => last,
    }[pressed];
    if (to) go(to());
    else if (pressed === "Enter" || pressed === " ") explain(current);
    else if (pressed === "Escape") explained = null;
    else return;
    plan();
    event.preventDefault();
  }

  // The step in the next line, or for -1 in the line before, that is nearest in place.
  function inNextLine(by) {
    const rectangle = (step) => spans[step].getClientRects()[0];
    const at = rectangle(current);
    let [best, nearest, top] = [current, Infinity, null];
    for (let step = current + by; spans[step]; step += by) {
      const place = rectangle(step);
      if (Math.abs(place.top - at.top) < place.height / 2) continue;
      top ??= place.top;
      if (Math.abs(place.top - top) >= place.height / 2) break;
      const distance = Math.abs(place.left - at.left);
      if (distance < nearest) [best, nearest] = [step, distance];
    }
    return best;
  }

  // Says what there is to say about a step.
  function tell() {
    const about = text.read[told];
    if (!about) {
      const hint = `Point at one of the ${unit}s, or go there with Tab and the arrow keys, to see
        what the network expected there. A click, or Enter, shows what the prediction rests on.`;
      detail.replaceChildren(make("p.hint", told === null ? hint : "Not read yet."));
      return;
    }
    const symbol = text.steps[told];
    const chanceOf = (share) => percent(share, share < 0.001 ? 3 : 1);
    const name = (each) => make("bdi.symbol", codec.label(each));
    const rows = about.best.map((each, index) => [each, about.chances[index]]);
    if (!about.best.includes(symbol)) rows.push([symbol, Math.exp(-about.nats)]);
    const items = rows.map(([each, share]) => {
      const came = each === symbol ? make("span", "came") : null;
      const chance = make("span.chance", chanceOf(share));
      return make(came ? "li.came" : "li", name(each), make("span", bar(share)), chance, came);
    });
    const rarity = Math.exp(about.nats);
    const surprise = `${number(about.nats)} nats, 1 in ${number(rarity, rarity < 100 ? 1 : 0)}`;
    const said = [
      make("p.what", name(symbol), surprise),
      make("p.hint", "The network expected"),
      make("ol.expected", items),
    ];
    if (watched && text.values[told] !== undefined) {
      said.push(make("p", `After it, the unit is at ${number(text.values[told], 3)}.`));
    }
    const change = explained?.changes[told];
    let hint = "A click, or Enter: what does this prediction rest on?";
    if (explained) hint = "Escape shows the other colours again.";
    if (change !== undefined) {
      hint = `Without this ${unit} (the mean of all in its place), the framed prediction would be
        ${number(Math.abs(change))} nats ${change < 0 ? "easier" : "harder"}.`;
    }
    detail.replaceChildren(...said, make("p.hint", hint));
  }

  worker.onmessage = ({ data }) => {
    if (data.kind === "failed") {
      status.textContent = visible(`This browser cannot run the network: ${data.why}`);
      return;
    }
    const about = texts[data.text];
    if (about.version !== data.version) return;
    const put = (into, values) =>
      values.forEach((value, index) => {
        into[data.from + index] = value;
      });
    if (data.kind === "read") put(about.read, data.chunk);
    if (data.kind === "values" && isWatched(data.unit)) put(about.values, data.values);
    if (data.kind === "explained" && explained?.step === data.step && about === text) {
      explained.changes[data.place] = data.change;
    }
    plan();
  };

  show(0);
  watch(null);
  const content = [
    make("div.choices", { role: "tablist", "aria-label": "Texts" }, tabs),
    caption,
    typing,
    make("div.choices", { role: "group", "aria-label": "Colours" }, "Colour by", choices),
    make("div.choices", "or by any unit:", fields),
    make("div.choices", legend, status),
    make("div.reading", { role: "tabpanel", "aria-label": "Text" }, area, detail),
  ];
  return { content, watch };
}
