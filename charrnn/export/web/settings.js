// The fields with the settings, and the link that holds them.

const MOST_PRIME = 10_000; // characters that the network reads before it goes on
const LIMITS = {
  temperature: [0, 1e6],
  top_p: [Number.MIN_VALUE, 1],
  seed: [0, Number.MAX_SAFE_INTEGER],
  length: [1, 1e6],
  texts: [1, 1000],
};

function newSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}

// From the text of a field to numbers, of which only a temperature has several; null: it makes no
// sense.
function parsed(name, text) {
  const [least, most] = LIMITS[name];
  const isDecimal = name === "temperature" || name === "top_p";
  const values = text.split(",").map((part) => (part.trim() ? Number(part) : NaN));
  const makesSense = (value) =>
    value >= least && value <= most && (isDecimal || Number.isInteger(value));
  const isCount = values.length === 1 || name === "temperature";
  return isCount && values.every(makesSense) ? values : null;
}

class Settings {
  // changed: what is called when one of them has changed.
  constructor({ sampling, length, unit, documents }, changed) {
    this.changed = changed;
    this.fields = {};
    this.sliders = {};
    this.usual = { ...sampling, temperature: sampling.temperature.join(", "), length, texts: 20 };
    this.usual.seed = newSeed();
    const isOne = sampling.temperature.length === 1;
    const calm = isOne ? "lower is safer, higher is wilder" : "these alternate, step by step";
    const often = `${unit}s, ${documents ? "at most, of each text" : "at a time"}`;
    this.elements = [
      this.field("temperature", "Temperature", calm, [0, 2]),
      this.field("top_p", "Top-p", "less than 1 leaves out what is unlikely", [0.05, 1]),
      this.field("seed", "Seed", "the same seed gives the same text"),
      this.field("length", "Length", often),
      documents ? this.field("texts", "Number", "texts at a time") : null,
    ];
  }

  field(name, title, hint, range) {
    const field = make("input", {
      id: name,
      autocomplete: "off",
      inputmode: range ? "decimal" : "numeric",
      value: this.usual[name],
      "aria-describedby": `${name}-hint`,
      input: () => this.update(),
      change: () => this.tidy(),
    });
    this.fields[name] = field;
    const [min, max] = range ?? [];
    const slide = () => this.set(name, Number(slider.value));
    const sliding = { type: "range", min, max, step: 0.05, input: slide };
    const slider = range ? make("input", sliding, { "aria-label": `${title}, slider` }) : null;
    if (slider) this.sliders[name] = slider;
    const about = make("p.hint", { id: `${name}-hint` }, hint);
    const line = make("div.line", slider, field);
    const tag = range ? "div.wide" : "div";
    return make(tag, make("label", { for: name }, title), line, about);
  }

  // The numbers in a field.
  values(name) {
    return parsed(name, this.fields[name].value) ?? parsed(name, String(this.usual[name]));
  }

  value(name) {
    return this.values(name)[0];
  }

  set(name, value) {
    this.fields[name].value = value;
    this.update();
  }

  update() {
    for (const [name, field] of Object.entries(this.fields)) {
      field.setAttribute("aria-invalid", !parsed(name, field.value));
    }
    for (const [name, slider] of Object.entries(this.sliders)) slider.value = this.value(name);
    this.changed();
  }

  // What makes no sense becomes what it was at first.
  tidy() {
    for (const name in this.fields) this.fields[name].value = this.values(name).join(", ");
    this.update();
  }

  // Puts them into the address of the page, with the beginning of the text.
  toLink(prime, length) {
    const parts = new URLSearchParams({ prime });
    for (const name in this.fields) parts.set(name, this.values(name).join());
    parts.set("length", length);
    history.replaceState(null, "", `#${parts}`);
    return location.href;
  }

  // Takes them from the fragment of an address, and gives the beginning of the text; null: there
  // is none.
  fromLink(hash) {
    const parts = new URLSearchParams(hash.slice(1));
    for (const [name, field] of Object.entries(this.fields)) {
      const values = parsed(name, parts.get(name) ?? "");
      if (values) field.value = values.join(", ");
    }
    this.update();
    return parts.get("prime")?.slice(0, MOST_PRIME) ?? null;
  }
}
