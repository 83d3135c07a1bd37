// The other sections: lists of elements, and null for what is not there.

function verdict(lines = []) {
  const cards = lines.map(({ title, text, advice }) => {
    const given = advice ? make("p.advice", "→ ", foreign(advice)) : null;
    return make("li", foreign(title, "h3"), paragraph(text), given);
  });
  return [cards.length ? make("ul.cards", cards) : null];
}

function pictures(given = [], overTime) {
  const made = given.map(({ title, png, alt }) => {
    const image = make("img", { src: `data:image/png;base64,${png}`, alt: visible(alt) });
    return make("figure", make("figcaption", foreign(title)), image);
  });
  if (!overTime) return made;
  const { x_label: xLabel, y_label: yLabel, x, y } = overTime;
  const series = [{ name: "surprise", x, y }];
  return [...made, chart({ about: "Surprise over time", xLabel, yLabel, series })];
}

function surprise({ nats_per_step: mean, groups = [], costly = [] } = {}, unit, hasSymbols) {
  if (!groups.length && !costly.length) return [];
  const kinds = groups.map(({ name, rows }) => {
    const headings = ["", "share", "learnt", "held out", "part of the loss"];
    const cells = rows.map(({ kind, share, held_out: heldOut, learnt, part }) => [
      kind,
      figure(percent(share)),
      figure(number(learnt)),
      figure(number(heldOut)),
      figure(bar(part), percent(part)),
    ]);
    return table(`Loss by ${name}, in nats`, headings, cells);
  });
  const most = costly.map(({ name, rows }) => {
    const cells = rows.map(({ text, count, nats }) => [
      foreign(text, "bdi.quoted"),
      figure(count),
      figure(number(nats, 1)),
    ]);
    return table(`The ${name} that cost most`, ["", "times", "nats"], cells);
  });
  const about = hasSymbols
    ? `Each ${unit} costs ${number(mean, 3)} nats: it is as hard to tell as one of
      ${number(Math.exp(mean), 1)} equally likely ones. Nats are −log p; 0.69 nats are 1 bit.`
    : `Each ${unit} costs ${number(mean, 1)} nats. Nats are −log p, here of a density, so they can
      be negative.`;
  return [typeof mean === "number" ? make("p", about) : null, make("div.columns", kinds, most)];
}

function cells({ found = [], shuffled, nothing, half_lives: halfLives = [] } = {}, unit, watch) {
  const rows = found.map((cell) => {
    const where = `${cell.layer}:${cell.unit} ${cell.part}`;
    const about = {
      type: "button",
      "aria-label": `Colour by unit ${where}`,
      click: () => watch(cell),
    };
    const scores = [figure(number(cell.score)), figure(number(cell.table))];
    return [cell.follows, where, ...scores, watch ? make("button", about, "Colour") : ""];
  });
  const headings = ["follows", "layer:unit", "score", "table", ""];
  const chance = `A score of 1 is perfect. Under “table” is what the last two ${unit}s alone would
    score. With shuffled labels the best unit has ${number(shuffled)}: that much is chance.`;
  const halves = halfLives.map(({ layer, median, longest }) => [
    `layer ${layer}`,
    figure(number(median, 1)),
    figure(number(longest, 1)),
  ]);
  const made = [
    table("Units that follow something", headings, rows),
    table(`After how many ${unit}s half is forgotten`, ["", "median", "longest"], halves),
  ];
  return [
    paragraph(nothing),
    rows.length && typeof shuffled === "number" ? make("p", chance) : null,
    made.some(Boolean) ? make("div.columns", made) : null,
  ];
}

function memory({ x_label: xLabel = "context", curves = [], gradients = [] } = {}, unit) {
  const lengths = range(curves.flatMap(({ x }) => x).filter((x) => x > 0));
  const loss = chart({
    about: "Loss, by how much the network has read before",
    xLabel,
    yLabel: "nats",
    series: curves,
    logX: lengths[1] > 20 * lengths[0],
  });
  const gradient = chart({
    about: "Gradient, by how far back it reaches: a straight fall vanishes exponentially",
    xLabel: `${unit}s before the prediction`,
    yLabel: "norm of the gradient",
    series: gradients,
    logY: true,
  });
  return [loss || gradient ? make("div.columns", loss, gradient) : null];
}

function map({ units = [], symbols = [] } = {}, watch) {
  const isPlaced = ({ x, y }) => typeof x === "number" && typeof y === "number";
  const named = symbols.filter(isPlaced).map((symbol) => {
    return { ...symbol, group: symbol.kind, about: `${symbol.label}: ${symbol.kind}` };
  });
  const placed = units.filter(isPlaced).map(({ layer, unit, x, y, label }) => {
    const about = `layer ${layer}, unit ${unit}${label ? `: ${label}` : ""}`;
    const open = () => watch?.({ layer, unit, part: "h" });
    return { x, y, label, group: `layer ${layer}`, about, open };
  });
  const made = [
    scatter("Symbols: close together if the network treats them alike", named),
    scatter("Units: close together if they are active together; a click colours the text", placed),
  ];
  return [made.some(Boolean) ? make("div.columns", made) : null];
}

function copies({ sample, held_out: heldOut, histogram = [] } = {}, unit) {
  const card = (name, copy) => {
    if (!copy) return null;
    const place = copy.place ? make("p.about", "In the corpus: ", foreign(copy.place)) : null;
    const title = make("h3", `${name}: ${copy.longest} ${unit}s`);
    return make("li", title, foreign(copy.text, "blockquote"), place);
  };
  const x = histogram.map(({ length }) => length);
  const series = [
    { name: "sample", x, y: histogram.map((row) => row.sample) },
    { name: "held-out text", x, y: histogram.map((row) => row.held_out) },
  ];
  const about = "How much is shared with the learnt text, by length";
  return sample || heldOut
    ? [
        make("p", "The longest stretches that stand in the learnt text as well, word for word."),
        make("ul.cards", card("A sample", sample), card("Held-out text", heldOut)),
        chart({ about, xLabel: `${unit}s in a row`, yLabel: "share", series }),
      ]
    : [];
}

function learning({ curves = [], samples = [] } = {}) {
  const made = curves.map(({ name, y_label: yLabel, log, series }) =>
    chart({ about: name, xLabel: "updates", yLabel, series, logY: log }),
  );
  const told = samples.map(({ update, text }, index) => {
    const updates = Number(update).toLocaleString("en");
    const summary = make("summary", `A sample after ${updates} updates`);
    const is = index === samples.length - 1 ? { open: "" } : null;
    return make("details", is, summary, foreign(text, "pre"));
  });
  return [made.some(Boolean) ? make("div.columns", made) : null, ...told];
}

// --- the page

function main() {
  const [source, model, title, note, contents, place] = [
    "data",
    "model",
    "title",
    "note",
    "contents",
    "main",
  ].map((id) => document.getElementById(id));
  const data = JSON.parse(source.textContent);
  const { report, unit, codec } = data;
  document.title = visible(data.title);
  title.replaceChildren(foreign(data.title));
  note.replaceChildren(foreign(data.note));
  let text = null;
  if (codec && (data.passages?.length || new StepCodec(codec).canType)) {
    const engine = document.getElementById("engine").textContent;
    const worker = workerOf(`${engine}\n(${reader})();`);
    worker.postMessage({ kind: "model", model: model.textContent, start: codec.start });
    text = textSection(data, report.cells?.found || [], worker);
  }
  const watch =
    text &&
    ((cell) => {
      text.watch(cell);
      document.getElementById("text").scrollIntoView();
    });
  const sections = {
    Verdict: verdict(report.verdict),
    Text: text?.content || [],
    Pictures: pictures(data.pictures, report.surprise?.over_time),
    Surprise: surprise(report.surprise, unit, Boolean(codec)),
    Units: cells(report.cells, unit, watch),
    Memory: memory(report.memory, unit),
    Map: map(report.map, watch),
    Copies: copies(report.copies, unit),
    Learning: learning(report.learning),
  };
  for (const [name, content] of Object.entries(sections)) {
    if (!content.some(Boolean)) continue;
    const id = name.toLowerCase();
    const heading = make("h2", { id: `${id}-heading` }, name);
    place.append(make("section", { id, "aria-labelledby": `${id}-heading` }, heading, content));
    contents.append(make("a", { href: `#${id}` }, name));
  }
}

main();
