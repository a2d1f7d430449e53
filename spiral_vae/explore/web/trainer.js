// A network that learns here: the ELBO with one sample and Adam, one point after the other.

function randomNumbers(seed) {
  // sfc32
  let [a, b, c, d] = [seed >>> 0, 0x9e3779b9 ^ seed, 0x243f6a88, 1];
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return (t >>> 0) / 4294967296;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}
function normalNumbers(uniform) {
  // Box-Muller
  let spare = null;
  return () => {
    if (spare !== null) {
      const found = spare;
      spare = null;
      return found;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())),
      angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

function fastTanh(x) {
  // a rational approximation, to 4e-7
  x = x > 7.90531 ? 7.90531 : x < -7.90531 ? -7.90531 : x;
  const s = x * x;
  const above =
    (((((-2.76076847742355e-16 * s + 2.00018790482477e-13) * s - 8.60467152213735e-11) * s +
      5.12229709037114e-8) *
      s +
      1.48572235717979e-5) *
      s +
      6.37261928875436e-4) *
      s +
    4.89352455891786e-3;
  const below =
    ((1.19825839466702e-6 * s + 1.18534705686654e-4) * s + 2.268434632439e-3) * s +
    4.89352518554385e-3;
  return (x * above) / below;
}

// Layers of a network as one point goes through them, forth and back. The heads are one layer.
class Layers {
  constructor(network) {
    this.sizes = [network.inputs, ...network.hidden];
    this.heads = network.heads.map(([, size]) => size);
    this.values = this.sizes.map(size => new Float64Array(size));
    this.slopes = this.sizes.map(size => new Float64Array(size)); // of the loss by them
    this.out = new Float64Array(this.heads.reduce((a, b) => a + b));
    this.outSlopes = new Float64Array(this.out.length);
    this.start = network.start;
  }

  forth(w) {
    let at = this.start;
    for (let l = 1; l < this.sizes.length; l++) {
      const [x, h] = [this.values[l - 1], this.values[l]];
      at = this.layer(w, at, x, h, 0, h.length);
      for (let o = 0; o < h.length; o++) h[o] = fastTanh(h[o]);
    }
    let first = 0;
    for (const size of this.heads) {
      at = this.layer(w, at, this.values.at(-1), this.out, first, size);
      first += size;
    }
  }

  layer(w, at, x, out, first, size) {
    const bias = at + x.length * size;
    for (let o = 0; o < size; o++) out[first + o] = w[bias + o];
    for (let k = 0; k < x.length; k++) {
      const value = x[k],
        kernel = at + k * size;
      for (let o = 0; o < size; o++) out[first + o] += value * w[kernel + o];
    }
    return bias + size;
  }

  // Adds the gradient by the params to g, from the slopes of the outputs.
  back(w, g) {
    let at = this.start;
    for (let l = 1; l < this.sizes.length; l++) at += (this.sizes[l - 1] + 1) * this.sizes[l];
    this.slopes.at(-1).fill(0);
    let first = 0;
    for (const size of this.heads) {
      this.backLayer(w, g, at, this.values.at(-1), this.slopes.at(-1), this.outSlopes, first, size);
      at += (this.sizes.at(-1) + 1) * size;
      first += size;
    }
    at -= this.heads.reduce((sum, size) => sum + (this.sizes.at(-1) + 1) * size, 0);
    for (let l = this.sizes.length - 1; l > 0; l--) {
      const [h, slopes] = [this.values[l], this.slopes[l]];
      for (let o = 0; o < h.length; o++) slopes[o] *= 1 - h[o] * h[o];
      at -= (this.sizes[l - 1] + 1) * this.sizes[l];
      this.slopes[l - 1].fill(0);
      this.backLayer(w, g, at, this.values[l - 1], this.slopes[l - 1], slopes, 0, h.length);
    }
  }

  backLayer(w, g, at, x, xSlopes, slopes, first, size) {
    const bias = at + x.length * size;
    for (let o = 0; o < size; o++) g[bias + o] += slopes[first + o];
    for (let k = 0; k < x.length; k++) {
      const value = x[k],
        kernel = at + k * size;
      let sum = 0;
      for (let o = 0; o < size; o++) {
        g[kernel + o] += value * slopes[first + o];
        sum += slopes[first + o] * w[kernel + o];
      }
      xSlopes[k] += sum;
    }
  }
}

class Trainer {
  // nets: of a Gaussian q of one latent and means of dim dimensions; x [n, dim].
  constructor(nets, seed) {
    const encoder = new Network(nets.encoder, 0),
      decoder = new Network(nets.decoder, encoder.end);
    this.dim = nets.encoder.inputs;
    [this.encoder, this.decoder] = [new Layers(encoder), new Layers(decoder)];
    this.uniform = randomNumbers(seed);
    this.normal = normalNumbers(this.uniform);
    [this.w, this.g, this.m, this.v] = [0, 0, 0, 0].map(() => new Float64Array(decoder.end));
    for (const one of [this.encoder, this.decoder]) this.start(one);
    this.epoch = this.steps = 0;
  }

  start({sizes, heads, start}) {
    // uniform in +-1/sqrt(inputs), kernels and biases
    let at = start;
    const layer = (inputs, outputs) => {
      for (const end = at + (inputs + 1) * outputs; at < end; at++) {
        this.w[at] = (2 * this.uniform() - 1) / Math.sqrt(inputs);
      }
    };
    for (let l = 1; l < sizes.length; l++) layer(sizes[l - 1], sizes[l]);
    for (const size of heads) layer(sizes.at(-1), size);
  }

  runEpoch(x, {sigma, beta, rate, batch = 100}) {
    const n = x.length / this.dim;
    if (this.order?.length !== n) this.order = Int32Array.from({length: n}, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
    }
    for (let first = 0; first < n; first += batch) {
      this.g.fill(0);
      const last = Math.min(first + batch, n);
      for (let i = first; i < last; i++)
        this.point(x, this.order[i], sigma, beta, 1 / (last - first));
      this.adam(rate);
    }
    this.epoch++;
  }

  point(x, i, sigma, beta, share) {
    // adds its share of the gradient
    const {encoder, decoder, dim} = this,
      precision = 1 / (sigma * sigma);
    for (let d = 0; d < dim; d++) encoder.values[0][d] = x[i * dim + d];
    encoder.forth(this.w);
    const [mean, logvar] = encoder.out,
      sd = Math.exp(0.5 * logvar),
      eps = this.normal();
    decoder.values[0][0] = mean + sd * eps;
    decoder.forth(this.w);
    for (let d = 0; d < dim; d++) {
      decoder.outSlopes[d] = share * precision * (decoder.out[d] - x[i * dim + d]);
    }
    decoder.back(this.w, this.g);
    const slope = decoder.slopes[0][0];
    encoder.outSlopes[0] = slope + share * beta * mean;
    encoder.outSlopes[1] = 0.5 * (slope * sd * eps + share * beta * (sd * sd - 1));
    encoder.back(this.w, this.g);
  }

  adam(rate) {
    const {w, g, m, v} = this,
      t = ++this.steps;
    const first = 1 - 0.9 ** t,
      second = 1 - 0.999 ** t;
    for (let i = 0; i < w.length; i++) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      w[i] -= (rate * (m[i] / first)) / (Math.sqrt(v[i] / second) + 1e-8);
    }
  }
}

// In the Worker: trains while it runs, and says now and then how far it is.
function work() {
  const BLOCK = 20,
    TELL = 60,
    MAX_LOOK = 10; // ms
  let trainer = null,
    x,
    settings,
    points,
    reach,
    nets,
    told = 0,
    every = 1,
    timer = null;
  const look = () => {
    // KL to the truth and the gap, on few nodes
    const model = new Model(
      nets,
      trainer.w,
      {scale: scaleOf(settings.sigma, trainer.dim)},
      {kind: 'gaussian'},
    );
    const nodes = modelNodes(model, reach),
      begin = performance.now();
    if (!nodes) return {kl: NaN, gap: NaN};
    const some = points?.filter(({place}) => place % every === 0);
    const kl = some ? klToTruth(some, nodes) : NaN;
    const gap = meanGap(model, nodes, x, Math.ceil(x.length / trainer.dim / 16), 32);
    const took = performance.now() - begin;
    if (took > MAX_LOOK) every++;
    else if (took < MAX_LOOK / 3 && every > 1) every--;
    return {kl, gap, took};
  };
  const run = () => {
    const begin = performance.now();
    while (performance.now() - begin < BLOCK) trainer.runEpoch(x, settings);
    if (performance.now() - told > TELL) {
      postMessage({epoch: trainer.epoch, params: trainer.w.slice(), ...look()});
      told = performance.now();
    }
    timer = setTimeout(run);
  };
  onmessage = ({data}) => {
    clearTimeout(timer);
    if (data.fresh) {
      nets = data.nets;
      trainer = new Trainer(nets, data.seed);
    }
    if (data.x) [x, points, reach] = [data.x, data.points, data.reach];
    if (data.settings) settings = data.settings;
    if (data.run) run();
  };
}
const scaleOf = (sigma, dim) =>
  Array.from({length: dim}, (_, i) => Array.from({length: dim}, (_, j) => (i === j ? sigma : 0)));
