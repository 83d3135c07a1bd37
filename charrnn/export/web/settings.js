// The fields with the settings, and the link that holds them.

function newSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}

// The fields that pages have in common; what: what a seed gives.
function usualFields({ temperature, top_p }, what) {
  const isOne = temperature.length === 1;
  const calm = isOne ? "lower is safer, higher is wilder" : "these alternate, step by step";
  const list = { value: temperature.join(", "), most: 1e6, range: [0, 2], isList: true };
  const part = { value: top_p, least: Number.MIN_VALUE, most: 1, range: [0.05, 1] };
  const cut = "less than 1 leaves out what is unlikely";
  const same = `the same seed gives the same ${what}`;
  return {
    temperature: { name: "temperature", title: "Temperature", hint: calm, ...list },
    top_p: { name: "top_p", title: "Top-p", hint: cut, ...part },
    seed: { name: "seed", title: "Seed", hint: same, value: newSeed(), most: 2 ** 53 - 1 },
  };
}

// From the text of a field to numbers, of which a list has several; null: it makes no sense.
// What has no slider must be whole.
function parsed({ least = 0, most, range, isList }, text) {
  const values = text.split(",").map((part) => (part.trim() ? Number(part) : NaN));
  const makesSense = (value) =>
    value >= least && value <= most && (range || Number.isInteger(value));
  return (isList || values.length === 1) && values.every(makesSense) ? values : null;
}

class Settings {
  // fields: objects with name, title, hint, value, least (0), most; range, for a slider (its step
  // is 0.05, or `step`), and isList; changed: what is called when one of them has changed.
  constructor(fields, changed) {
    this.changed = changed;
    this.usual = {};
    this.fields = {};
    this.sliders = {};
    this.elements = fields.map((field) => this.element(field));
  }

  element(usual) {
    const { name, title, hint, range } = usual;
    this.usual[name] = usual;
    const field = make("input", {
      id: name,
      autocomplete: "off",
      inputmode: range ? "decimal" : "numeric",
      value: usual.value,
      "aria-describedby": `${name}-hint`,
      input: () => this.update(),
      change: () => this.tidy(),
    });
    this.fields[name] = field;
    const [min, max] = range ?? [];
    const slide = () => this.set(name, Number(slider.value));
    const sliding = { type: "range", min, max, step: usual.step ?? 0.05, input: slide };
    const slider = range ? make("input", sliding, { "aria-label": `${title}, slider` }) : null;
    if (slider) this.sliders[name] = slider;
    const about = make("p.hint", { id: `${name}-hint` }, hint);
    const line = make("div.line", slider, field);
    const tag = range ? "div.wide" : "div";
    return make(tag, make("label", { for: name }, title), line, about);
  }

  // The numbers in a field; if they make no sense, those that were there at first.
  values(name) {
    const usual = this.usual[name];
    return parsed(usual, this.fields[name].value) ?? parsed(usual, String(usual.value));
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
      field.setAttribute("aria-invalid", !parsed(this.usual[name], field.value));
    }
    for (const [name, slider] of Object.entries(this.sliders)) slider.value = this.value(name);
    this.changed();
  }

  // What makes no sense becomes what it was at first.
  tidy() {
    for (const name in this.fields) this.fields[name].value = this.values(name).join(", ");
    this.update();
  }

  // Puts them into the address of the page, which it gives, with other values.
  toLink(others) {
    const parts = new URLSearchParams();
    for (const name in this.fields) parts.set(name, this.values(name).join());
    for (const [name, value] of Object.entries(others)) parts.set(name, value);
    history.replaceState(null, "", `#${parts}`);
    return location.href;
  }

  // Takes them from the fragment of an address; gives all its values.
  fromLink(hash) {
    const parts = new URLSearchParams(hash.slice(1));
    for (const [name, field] of Object.entries(this.fields)) {
      const values = parsed(this.usual[name], parts.get(name) ?? "");
      if (values) field.value = values.join(", ");
    }
    this.update();
    return parts;
  }
}
