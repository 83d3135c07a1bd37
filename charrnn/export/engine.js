// The network in plain JavaScript: computes one step at a time, in a page or in a worker.
//
//   const network = await Network.load(text);   // what charrnn/export/packed.py writes
//   const state = network.begin(-1);            // the zero state, or the index of a start
//   const logits = network.step(state, symbol); // (V,); for frames the expected next one, (F,)
//
// The equations are those of charrnn/model/, and the names of the tensors those of its shapes.py.
// A matrix, (R, C), is stored row by row.  H hidden units, G gates, V symbols, F numbers in a frame.

"use strict";

const EPSILON = 1e-5; // is added to every variance, as in PyTorch
const KERNEL = "{{kernel}}"; // kernel.wasm in base64

// What must be known of each cell: its number of gates, whether it has a cell state, and its step.
// A step gets the two parts of the gates, x from the input and r from the state, (G*H,), each with
// its bias, and the state, which it changes.
const CELLS = {
  lstm: { gates: 4, hasCell: true, advance: lstm },
  peephole: { gates: 4, hasCell: true, advance: lstm },
  gru: { gates: 3, hasCell: false, advance: gru },
  rnn: { gates: 1, hasCell: false, advance: rnn },
};

class Network {
  // From base64 of gzip, as a promise.
  static async load(text) {
    try {
      const zipped = new Blob([bytesOf(text)]).stream();
      const unzipped = new Response(zipped.pipeThrough(new DecompressionStream("gzip")));
      return Network.from(new Uint8Array(await unzipped.arrayBuffer()));
    } catch {
      throw new Error("the network in this file is damaged; get the file again");
    }
  }

  // From the bytes inside.
  static from(bytes) {
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const config = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    const tensors = {};
    let at = 4 + length;
    const take = (count) => {
      at += 4 * count;
      return new Float32Array(bytes.slice(at - 4 * count, at).buffer);
    };
    const memory = new Memory(config.tensors.map(([, shape]) => shape));
    for (const [name, shape, storedAs] of config.tensors) {
      const tensor = memory.take(sizeOf(shape));
      tensors[name] = tensor;
      if (storedAs === "fp32") {
        tensor.set(take(tensor.length));
        continue;
      }
      const scales = take(shape[0]);
      const numbers = new Int8Array(bytes.buffer, bytes.byteOffset + at, tensor.length);
      at += tensor.length;
      for (let k = 0; k < tensor.length; k++) {
        tensor[k] = numbers[k] * scales[Math.floor(k / shape[1])];
      }
    }
    return new Network(config, tensors, memory);
  }

  constructor(config, tensors, memory) {
    const { hidden, size } = config;
    this.config = config;
    this.memory = memory;
    this.size = size; // V, or F
    this.isDiscrete = config.head === "categorical";
    this.starts = config.starts; // how many states there are in which samples may begin
    this.cell = CELLS[config.cell];
    this.tensors = tensors;
    this.layers = [];
    for (let index = 0; index < config.layers; index++) {
      const kernel = `layers.${index}.kernel`;
      this.layers.push({
        inputWeight: tensors[`${kernel}.weight_ih_l0`],
        recurrentWeight: tensors[`${kernel}.weight_hh_l0`],
        inputBias: tensors[`${kernel}.bias_ih_l0`],
        recurrentBias: tensors[`${kernel}.bias_hh_l0`],
        gains: tensors[`layers.${index}.gains`], // (2, G, H); undefined without norm in the cell
        cellGain: tensors[`layers.${index}.cell_gain`], // gain and bias, (2, H)
        peephole: tensors[`layers.${index}.peephole`] || new Float32Array(3 * hidden),
        norm: normOf(tensors, `norms.${index}.norm`),
        output: new Float32Array(hidden),
      });
    }
    this.inputNorm = normOf(tensors, "input_norm.norm");
    this.input = new Float32Array(config.embedding || size); // what the first layer reads
    const gates = this.cell.gates * hidden;
    this.inputGates = new Float32Array(gates);
    this.recurrentGates = new Float32Array(gates);
    this.rows = []; // the input part of the first layer's gates, for each symbol that was read
    this.joined = new Float32Array(config.skip ? config.layers * hidden : hidden);
    this.dense = new Float32Array(config.dense);
    this.scores = new Float32Array(size);
  }

  // The state before a text: the start with this index, or zeros for -1.
  begin(start) {
    const { hidden } = this.config;
    const part = (layer, which) => {
      if (start < 0) return new Float32Array(hidden);
      return this.tensors[`start.${layer}.${which}`].slice(start * hidden, (start + 1) * hidden);
    };
    const state = { h: this.layers.map((_, layer) => part(layer, 0)) };
    if (this.cell.hasCell) state.c = this.layers.map((_, layer) => part(layer, 1));
    return state;
  }

  // Reads a symbol, or a frame, (F,), which changes the state; -1 is the mean of all symbols.
  // Gives the logits of the next symbol, or the expected next frame; the next call overwrites them.
  step(state, x) {
    this.advance(state, x);
    return this.logits(state);
  }

  // The first half of `step`: only the new state.
  advance(state, x) {
    const { skip_input: reads } = this.config;
    if (reads || !this.isDiscrete) this.read(x);
    this.layers.forEach((layer, index) => {
      let input = this.inputGates;
      if (!index && this.isDiscrete) {
        input = this.row(x);
      } else {
        let read = index ? this.output(state, index - 1) : this.input;
        if (index && reads) read = Float32Array.of(...read, ...this.input);
        this.gates(layer, 0, layer.inputWeight, read, layer.inputBias, input);
      }
      const h = state.h[index];
      const recurrent = this.recurrentGates;
      this.gates(layer, 1, layer.recurrentWeight, h, layer.recurrentBias, recurrent);
      this.cell.advance(input, recurrent, h, state.c && state.c[index], layer);
    });
  }

  // The second half of `step`: what a state predicts.
  logits(state) {
    const { hidden, skip, dense } = this.config;
    const last = this.layers.length - 1;
    for (let layer = skip ? 0 : last; layer <= last; layer++) {
      this.joined.set(this.output(state, layer), skip ? layer * hidden : 0);
    }
    let read = this.joined;
    if (dense) {
      this.memory.multiply(this.tensors["dense.weight"], read, this.dense);
      add(this.dense, this.tensors["dense.bias"]);
      read = this.dense.map((value) => Math.max(value, 0));
    }
    this.memory.multiply(this.tensors["head.linear.weight"], read, this.scores);
    add(this.scores, this.tensors["head.linear.bias"]);
    return this.scores;
  }

  // What the next layer reads of a layer, (H,): its h after the norm between the layers.
  output(state, index) {
    const { norm, output } = this.layers[index];
    normalize(norm, state.h[index], output);
    return output;
  }

  // One part of the gates, (G*H,): weight times values, with layer norm if there is one (0: the
  // gain of the input part, 1: of the recurrent part), and its bias.
  gates(layer, which, weight, values, bias, out) {
    this.memory.multiply(weight, values, out);
    if (layer.gains) {
      const { hidden } = this.config;
      for (let at = 0; at < out.length; at += hidden) {
        standardize(out.subarray(at, at + hidden), out.subarray(at, at + hidden));
      }
      const from = which * out.length;
      for (let k = 0; k < out.length; k++) out[k] *= layer.gains[from + k];
    }
    add(out, bias);
  }

  // Sets what the first layer reads, `input`: a symbol as a vector, or a frame after its norm.
  read(x) {
    const { input, size } = this;
    if (!this.isDiscrete) {
      normalize(this.inputNorm, x, input);
      return;
    }
    const table = this.tensors["embedding.weight"]; // undefined: one-hot
    const symbols = x < 0 ? [...Array(size).keys()] : [x];
    input.fill(0);
    for (const each of symbols) {
      for (let k = 0; k < input.length; k++) {
        input[k] += (table ? table[each * input.length + k] : each === k) / symbols.length;
      }
    }
  }

  // The input part of the first layer's gates for a symbol, (G*H,), kept for the next time.
  row(symbol) {
    const kept = symbol < 0 ? this.size : symbol;
    if (!this.rows[kept]) {
      const [layer] = this.layers;
      const out = new Float32Array(this.inputGates.length);
      this.read(symbol);
      this.gates(layer, 0, layer.inputWeight, this.input, layer.inputBias, out);
      this.rows[kept] = out;
    }
    return this.rows[kept];
  }
}

// The memory in which tensors are, where the kernel can read them, if the browser runs it.
class Memory {
  constructor(shapes) {
    const most = shapes.reduce((size, shape) => Math.max(size, ...shape), 0); // of a vector
    const numbers = shapes.reduce((total, shape) => total + sizeOf(shape), 2 * most);
    this.used = 0; // bytes
    try {
      const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * numbers) / 65536) });
      const module = new WebAssembly.Module(bytesOf(KERNEL));
      this.kernel = new WebAssembly.Instance(module, { page: { memory } }).exports.multiply;
      this.buffer = memory.buffer;
    } catch {
      this.buffer = new ArrayBuffer(4 * numbers);
    }
    this.x = this.take(most);
    this.out = this.take(most);
  }

  // Room for so many numbers.
  take(count) {
    this.used += 4 * count;
    return new Float32Array(this.buffer, this.used - 4 * count, count);
  }

  // out = weight times x, for a matrix (R, C) in this memory, x (C,), out (R,).
  multiply(weight, x, out) {
    const [rows, width] = [out.length, x.length];
    if (this.kernel) {
      this.x.set(x);
      this.kernel(weight.byteOffset, this.x.byteOffset, this.out.byteOffset, rows, width);
      out.set(this.out.subarray(0, rows));
      return;
    }
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += weight[row * width + k] * x[k];
      out[row] = sum;
    }
  }
}

// Bytes from base64.
function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function sizeOf(shape) {
  return shape.reduce((product, size) => product * size, 1);
}

// Gates i, f, g, o; without peepholes, their weights are 0.
function lstm(x, r, h, c, layer) {
  const { peephole, cellGain } = layer;
  const H = h.length;
  for (let k = 0; k < H; k++) {
    const i = sigmoid(x[k] + r[k] + peephole[k] * c[k]);
    const f = sigmoid(x[H + k] + r[H + k] + peephole[H + k] * c[k]);
    c[k] = f * c[k] + i * Math.tanh(x[2 * H + k] + r[2 * H + k]);
  }
  let read = c;
  if (cellGain) {
    read = new Float32Array(H);
    standardize(c, read);
    for (let k = 0; k < H; k++) read[k] = read[k] * cellGain[k] + cellGain[H + k];
  }
  for (let k = 0; k < H; k++) {
    const o = sigmoid(x[3 * H + k] + r[3 * H + k] + peephole[2 * H + k] * c[k]);
    h[k] = o * Math.tanh(read[k]);
  }
}

// Gates r, z, n; the reset gate multiplies the recurrent part of n.
function gru(x, r, h) {
  const H = h.length;
  for (let k = 0; k < H; k++) {
    const reset = sigmoid(x[k] + r[k]);
    const z = sigmoid(x[H + k] + r[H + k]);
    const n = Math.tanh(x[2 * H + k] + reset * r[2 * H + k]);
    h[k] = n + z * (h[k] - n);
  }
}

function rnn(x, r, h) {
  for (let k = 0; k < h.length; k++) h[k] = Math.tanh(x[k] + r[k]);
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

function add(values, others) {
  for (let k = 0; k < values.length; k++) values[k] += others[k];
}

// The logarithm of the sum of the exponentials of some logits.
function logSum(logits) {
  let most = -Infinity;
  for (const value of logits) most = Math.max(most, value);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  return most + Math.log(sum);
}

// The tensors of a norm; null: there is none.
function normOf(tensors, name) {
  if (!tensors[`${name}.weight`]) return null;
  return {
    weight: tensors[`${name}.weight`],
    bias: tensors[`${name}.bias`],
    mean: tensors[`${name}.running_mean`], // undefined: a layer norm
    variance: tensors[`${name}.running_var`],
  };
}

// Values, (N,), after batch norm, layer norm or no norm, into out.
function normalize(norm, values, out) {
  if (!norm) {
    out.set(values);
    return;
  }
  const { weight, bias, mean, variance } = norm;
  if (!mean) standardize(values, out);
  for (let k = 0; k < out.length; k++) {
    const x = mean ? (values[k] - mean[k]) / Math.sqrt(variance[k] + EPSILON) : out[k];
    out[k] = x * weight[k] + bias[k];
  }
}

// Values, shifted and scaled to mean 0 and variance 1, into out, which may be the same array.
function standardize(values, out) {
  const count = values.length;
  let mean = 0;
  for (let k = 0; k < count; k++) mean += values[k] / count;
  let variance = 0;
  for (let k = 0; k < count; k++) variance += (values[k] - mean) ** 2 / count;
  const scale = 1 / Math.sqrt(variance + EPSILON);
  for (let k = 0; k < count; k++) out[k] = (values[k] - mean) * scale;
}
