// Tables and curves.

const shape = maker("2000/svg");
const paragraph = (text, tag = "p") => (text ? make(tag, foreign(text)) : null);

function number(value, digits = 2) {
  return typeof value === "number" ? value.toFixed(digits).replace("-", "−") : "–";
}

function percent(share, digits = 1) {
  return typeof share === "number" ? `${number(100 * share, digits)}%` : "–";
}

function bar(share) {
  const made = make("span.bar", { "aria-hidden": true });
  made.style.setProperty("--share", Math.max(0, Math.min(1, share || 0)));
  return made;
}

// A cell of a table with a figure.
const figure = (...parts) => make("td.figure", ...parts);

// A table; rows are lists of cells, `figure` or text.  null: there are no rows.
function table(caption, headings, rows) {
  if (!rows.length) return null;
  const cell = (content, index) => {
    if (content.localName === "td") return content;
    const inside = content instanceof Node ? content : foreign(content);
    return index ? make("td", inside) : make("th", { scope: "row" }, inside);
  };
  const head = headings.map((heading, index) => {
    const tag = rows[0][index].className === "figure" ? "th.figure" : "th";
    return make(tag, { scope: "col" }, visible(heading));
  });
  const body = rows.map((row) => make("tr", row.map(cell)));
  const made = make(
    "table",
    make("caption", visible(caption)),
    make("thead", make("tr", head)),
    make("tbody", body),
  );
  return make("div.wide", { tabindex: 0, role: "group", "aria-label": visible(caption) }, made);
}

// Places of about six ticks on an axis, with their labels; base 0: a linear axis.
function ticks(from, to, base) {
  if (base) {
    const power = (place) => Math.log(place) / Math.log(base);
    const first = Math.ceil(power(from) - 1e-9);
    const last = Math.floor(power(to) + 1e-9);
    const places = [];
    for (let each = first; each <= last; each += Math.ceil((last - first) / 6) || 1) {
      places.push([base ** each, tickLabel(base ** each, 3)]);
    }
    if (places.length > 1) return places;
  }
  const size = 10 ** Math.floor(Math.log10((to - from) / 6));
  const stride = [1, 2, 5, 10].map((factor) => factor * size).find((each) => each * 6 >= to - from);
  const digits = Math.max(0, -Math.floor(Math.log10(stride) + 1e-9));
  const places = [];
  for (let count = Math.ceil(from / stride); count * stride <= to; count++) {
    places.push([count * stride, tickLabel(count * stride, digits)]);
  }
  return places;
}

function tickLabel(place, digits) {
  const size = Math.abs(place);
  if (place && (size < 0.001 || size > 1e7)) return place.toExponential(0).replaceAll("-", "−");
  return place.toLocaleString("en", { maximumFractionDigits: digits }).replace("-", "−");
}

// Every series has a colour and a dash, so that it can be told without colours as well.
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "4 2 1 2"];
const line = (d, index) =>
  shape(`path.line.series${index % 5}`, { d, "stroke-dasharray": DASHES[index % 5] });
const dot = (cx, cy, index) => shape(`circle.dot.series${index % 5}`, { cx, cy, r: 3.5 });

function key(names, hasLines) {
  const items = names.map((name, index) => {
    const sample = hasLines ? line("M0 5H26", index) : dot(13, 5, index);
    return make(
      "li",
      shape("svg", { width: 26, height: 10, "aria-hidden": true }, sample),
      foreign(name),
    );
  });
  return make("ul.key", items);
}

// A figure that is drawn again when its width changes.  draw(width, height): a list of shapes.
function drawn(about, names, hasLines, draw, ...further) {
  const holder = make("div.drawing");
  let width = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth === width || !holder.clientWidth) return;
    width = holder.clientWidth;
    const height = Math.round(Math.min(320, Math.max(220, width / 2)));
    const size = { width, height, role: "img", "aria-label": visible(about) };
    holder.replaceChildren(shape("svg", size, draw(width, height)));
  }).observe(holder);
  return make("figure", make("figcaption", visible(about)), key(names, hasLines), holder, further);
}

// The least and the largest of some numbers, not the same.
function range(values) {
  let [from, to] = [Infinity, -Infinity];
  for (const value of values) [from, to] = [Math.min(from, value), Math.max(to, value)];
  return from < to ? [from, to] : [from - (Math.abs(from) / 2 || 1), to + (Math.abs(to) / 2 || 1)];
}

// From numbers between from and to to places between start and end.
function scale([from, to], start, end, log) {
  const of = log ? Math.log : (x) => x;
  return (x) => start + ((of(x) - of(from)) / (of(to) - of(from))) * (end - start);
}

// Curves with axes; null: there is no point.  series: [{name, x, y}]; logX, logY: logarithmic axes.
function chart({ about, xLabel, yLabel, series, logX, logY }) {
  const isThere = ([x, y]) =>
    typeof x === "number" && typeof y === "number" && (!logX || x > 0) && (!logY || y > 0);
  const curves = series.map(({ x, y }) => x.map((each, index) => [each, y[index]]).filter(isThere));
  const points = curves.flat();
  if (!points.length) return null;
  const across = range(points.map(([x]) => x));
  let up = range(points.map(([, y]) => y));
  const edge = 0.04 * (up[1] - up[0]);
  if (!logY) up = [up[0] < 0 ? up[0] - edge : Math.max(0, up[0] - edge), up[1] + edge];
  const draw = (width, height) => {
    const rungs = ticks(...up, logY && 10);
    const left = 18 + 7 * Math.max(...rungs.map(([, label]) => label.length));
    const [right, top, bottom] = [width - 18, 28, height - 44];
    const toX = scale(across, left, right, logX);
    const toY = scale(up, bottom, top, logY);
    const text = (x, y, anchor, content, tag = "text") =>
      shape(tag, { x, y, "text-anchor": anchor }, visible(content));
    const shapes = [
      shape("path.axis", { d: `M${left} ${bottom}H${right}` }),
      text(0, 14, "start", yLabel, "text.label"),
      text(right, height - 6, "end", xLabel, "text.label"),
    ];
    for (const [place, label] of rungs) {
      shapes.push(shape("path.grid", { d: `M${left} ${toY(place)}H${right}` }));
      shapes.push(text(left - 8, toY(place) + 4, "end", label));
    }
    for (const [place, label] of ticks(...across, logX && 2)) {
      shapes.push(shape("path.axis", { d: `M${toX(place)} ${bottom}v5` }));
      shapes.push(text(toX(place), bottom + 19, "middle", label));
    }
    curves.forEach((curve, index) => {
      const places = curve.map(([x, y]) => [toX(x).toFixed(1), toY(y).toFixed(1)]);
      shapes.push(line(places.length ? `M${places.join("L")}` : "", index));
      if (places.length < 25) shapes.push(...places.map(([x, y]) => dot(x, y, index)));
    });
    return shapes;
  };
  const rows = curves.flatMap((curve, index) => {
    const some = curve.filter((_, place) => place % Math.ceil(curve.length / 40) === 0);
    const short = (x) => figure(Number(x.toPrecision(6)));
    return some.map(([x, y]) => [series[index].name, short(x), short(y)]);
  });
  const figures = table(about, ["", xLabel, yLabel], rows);
  const names = series.map(({ name }) => name);
  return drawn(about, names, true, draw, make("details", make("summary", "As figures"), figures));
}

// Points with labels, without axes; null: there are none.
// points: [{x, y, label, group, about, open}]; open: what a click does; there is a dot then.
function scatter(about, points) {
  if (!points.length) return null;
  const groups = [...new Set(points.map(({ group }) => group))];
  const [across, up] = ["x", "y"].map((axis) => range(points.map((point) => point[axis])));
  const ordered = points.toSorted((one, other) => Boolean(one.label) - Boolean(other.label));
  const draw = (width, height) =>
    ordered.map(({ x, y, label, group, about: said, open }) => {
      const series = groups.indexOf(group) % 5;
      const [left, top] = [scale(across, 24, width - 24)(x), scale(up, height - 24, 24)(y)];
      const isRight = left > width / 2; // its label is on the left then
      const place = open
        ? { x: left + (isRight ? -8 : 8), "text-anchor": isRight ? "end" : "start" }
        : { x: left, "text-anchor": "middle" };
      return shape(
        open ? "g.open" : "g",
        open ? { click: open } : null,
        open ? dot(left, top, series) : null,
        shape(`text.name.series${series}`, { ...place, y: top + 4 }, visible(label)),
        shape("title", visible(said)),
      );
    });
  return drawn(about, groups, false, draw);
}
