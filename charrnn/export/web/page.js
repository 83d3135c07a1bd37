// What the pages that generate have in common.

const at = (id) => document.getElementById(id);

// The data of the page; says in it what the page is about.
function openPage() {
  const data = JSON.parse(at("data").textContent);
  document.title = visible(data.title);
  for (const id of ["title", "about", "note", "network"]) at(id).replaceChildren(foreign(data[id]));
  at("about").hidden = !data.about;
  return data;
}

// The worker, which has been given the network; answers: a function for each kind of its messages.
function startWorker(codec, answers) {
  const worker = workerOf(at("worker").textContent);
  worker.onmessage = ({ data: said }) => answers[said.kind](said);
  worker.postMessage({ kind: "model", model: at("model").textContent, codec });
  return worker;
}

function button(name, title, click) {
  return make("button", { type: "button", title, click }, name);
}

// A line on settings of the model that have no field, if there are any.
function alsoLine({ also }) {
  return also ? make("p.hint", "Also as the model was set up: ", foreign(also)) : "";
}

// Copies a text; gives what to tell about it.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    if (location.protocol !== "file:" || !text.startsWith("file:")) return "Copied";
    return "Copied; it works where the file of this page has the same address";
  } catch {
    return "This browser does not let the page copy; select the text and copy it";
  }
}
