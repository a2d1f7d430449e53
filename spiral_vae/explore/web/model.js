// The model of a lane: its networks, its noise and its posterior, in float64.

const LOG_2PI = Math.log(2 * Math.PI);

const bytesOf = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0)).buffer;

function halves(base64) {
  // float16, which no typed array reads everywhere
  const bits = new Uint16Array(bytesOf(base64)),
    out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const sign = bits[i] & 0x8000 ? -1 : 1,
      power = (bits[i] >> 10) & 31,
      rest = bits[i] & 1023;
    if (power === 31) out[i] = rest ? NaN : sign * Infinity;
    else out[i] = sign * (power ? (1 + rest / 1024) * 2 ** (power - 15) : rest * 2 ** -24);
  }
  return out;
}

// x [n, inputs] -> [n, outputs]: a kernel [inputs, outputs] and a bias, from w[at] on.
function affine(w, at, x, n, inputs, outputs) {
  const out = new Float64Array(n * outputs),
    bias = at + inputs * outputs;
  for (let i = 0; i < n; i++) {
    const row = i * outputs;
    for (let o = 0; o < outputs; o++) out[row + o] = w[bias + o];
    for (let k = 0; k < inputs; k++) {
      const value = x[i * inputs + k],
        kernel = at + k * outputs;
      for (let o = 0; o < outputs; o++) out[row + o] += value * w[kernel + o];
    }
  }
  return out;
}

// Hidden tanh layers and heads; its params lie in w, layer after layer, from `start` on.
class Network {
  constructor({inputs, fourier, hidden, heads}, start) {
    Object.assign(this, {inputs, fourier, hidden, heads, start});
    let [size, width] = [inputs * fourier, inputs + 2 * fourier];
    for (const units of hidden) [size, width] = [size + (width + 1) * units, units];
    for (const [, outputs] of heads) size += (width + 1) * outputs;
    this.end = start + size;
  }

  apply(w, x, n) {
    // x [n, inputs] -> {head: [n, size]}
    let at = this.start,
      width = this.inputs;
    if (this.fourier) {
      [x, width] = [this.withFourier(w, x, n), width + 2 * this.fourier];
      at += this.inputs * this.fourier;
    }
    for (const units of this.hidden) {
      const h = affine(w, at, x, n, width, units);
      for (let i = 0; i < h.length; i++) h[i] = Math.tanh(h[i]);
      [x, at, width] = [h, at + (width + 1) * units, units];
    }
    const found = {};
    for (const [name, outputs] of this.heads) {
      found[name] = affine(w, at, x, n, width, outputs);
      at += (width + 1) * outputs;
    }
    return found;
  }

  withFourier(w, x, n) {
    const {inputs, fourier} = this,
      width = inputs + 2 * fourier,
      out = new Float64Array(n * width);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < inputs; k++) out[i * width + k] = x[i * inputs + k];
      for (let f = 0; f < fourier; f++) {
        let angle = 0;
        for (let k = 0; k < inputs; k++) {
          angle += x[i * inputs + k] * w[this.start + k * fourier + f];
        }
        out[i * width + inputs + f] = Math.sin(angle);
        out[i * width + inputs + fourier + f] = Math.cos(angle);
      }
    }
    return out;
  }
}

// Noise around n means: scale [n, D, D], lower triangular, and degrees of freedom [n, D] of a
// Student-t. It is constant, or a formula of the decoder's heads.
function noiseOf(noise, heads, n, dim) {
  const scale = new Float64Array(n * dim * dim);
  if (noise.scale) {
    const one = noise.scale.flat();
    for (let i = 0; i < scale.length; i++) scale[i] = one[i % one.length];
    return {scale, dof: null};
  }
  const {floor, offset, factor, low, high, leastDof} = noise;
  const dof = leastDof === null ? null : new Float64Array(n * dim);
  for (let i = 0; i < n; i++)
    for (let d = 0; d < dim; d++) {
      const log = offset[d] + factor[d] * heads.logvar[i * dim + d];
      const variance = floor * floor + Math.exp(Math.min(high, Math.max(low, log)));
      scale[i * dim * dim + d * dim + d] = Math.sqrt(variance);
      if (dof) dof[i * dim + d] = leastDof + Math.log1p(Math.exp(heads.dof[i * dim + d]));
    }
  return {scale, dof};
}

class Model {
  constructor(nets, params, noise, posterior) {
    this.encoder = new Network(nets.encoder, 0);
    this.decoder = new Network(nets.decoder, this.encoder.end);
    this.dim = nets.encoder.inputs;
    Object.assign(this, {params, noise});
    this.family = FAMILIES[posterior.kind]?.(posterior);
  }

  encode(x) {
    return this.encoder.apply(this.params, x, x.length / this.dim);
  }

  // p(x|z) of many z of one latent.
  observe(z) {
    const heads = this.decoder.apply(this.params, z, z.length);
    return {mean: heads.mean, ...noiseOf(this.noise, heads, z.length, this.dim)};
  }

  decode(z) {
    return this.decoder.apply(this.params, z, z.length).mean;
  }
}

// Row i of heads.
function headsAt(heads, i, n) {
  const one = {};
  for (const name in heads) {
    const size = heads[name].length / n;
    one[name] = heads[name].subarray(i * size, (i + 1) * size);
  }
  return one;
}

// --- families of q(z|x), of one latent, for the heads of one point ---
// nodes(heads, num): {z, weight} with weights of sum 1; logProb(heads, z); moments: [mean, sd].

const normalLog = (z, mean, logvar) =>
  -0.5 * ((z - mean) ** 2 * Math.exp(-logvar) + logvar + LOG_2PI);

function normalNodes(mean, logvar, num) {
  // the trapezoid rule over +-9 standard deviations
  const z = new Float64Array(num + 1),
    weight = new Float64Array(num + 1);
  const sd = Math.exp(0.5 * logvar);
  let sum = 0;
  for (let i = 0; i <= num; i++) {
    const eps = -9 + (18 * i) / num;
    z[i] = mean + sd * eps;
    sum += weight[i] = Math.exp(-0.5 * eps * eps);
  }
  return {z, weight: weight.map(w => w / sum)};
}

const softmax = logits => {
  const top = Math.max(...logits),
    e = Array.from(logits, v => Math.exp(v - top));
  const sum = e.reduce((a, b) => a + b);
  return e.map(v => v / sum);
};

const FAMILIES = {
  gaussian: () => ({
    nodes: (heads, num) => normalNodes(heads.mean[0], heads.logvar[0], num),
    logProb: (heads, z) => normalLog(z, heads.mean[0], heads.logvar[0]),
    moments: heads => [heads.mean[0], Math.exp(0.5 * heads.logvar[0])],
    kl: ({mean: [m], logvar: [v]}) => 0.5 * (m * m + Math.expm1(v) - v),
  }),

  mixture: ({num}) => {
    const parts = heads =>
      softmax(heads.logit).map((mass, c) => {
        const spread = num > 1 ? Math.fround(-1 + (2 * c) / (num - 1)) : 0;
        return [mass, heads.mean[c] + spread, heads.logvar[c]];
      });
    return {
      nodes(heads, count) {
        const z = [],
          weight = [];
        for (const [mass, mean, logvar] of parts(heads)) {
          const own = normalNodes(mean, logvar, count);
          z.push(...own.z);
          weight.push(...own.weight.map(w => mass * w));
        }
        return {z: Float64Array.from(z), weight: Float64Array.from(weight)};
      },
      logProb: (heads, z) =>
        logSum(
          parts(heads).map(([mass, mean, logvar]) => Math.log(mass) + normalLog(z, mean, logvar)),
        ),
      moments(heads) {
        let mean = 0,
          square = 0;
        for (const [mass, m, logvar] of parts(heads)) {
          mean += mass * m;
          square += mass * (m * m + Math.exp(logvar));
        }
        return [mean, Math.sqrt(square - mean * mean)];
      },
    };
  },

  spline: ({num, reach, leastBin, leastSlope}) => {
    const unit = Math.log(Math.expm1(1 - leastSlope));
    const knots = logits => {
      let sum = 0;
      const inner = softmax(logits)
        .slice(0, -1)
        .map(share => {
          sum += leastBin + (1 - num * leastBin) * share;
          return reach * (2 * sum - 1);
        });
      return [-reach, ...inner, reach];
    };
    const splineOf = heads => ({
      x: knots(heads.width),
      y: knots(heads.height),
      slope: [1, ...Array.from(heads.slope, s => leastSlope + Math.log1p(Math.exp(s + unit))), 1],
    });
    const bin = ({x, y, slope}, own, place) => {
      let i = 0;
      while (i < num - 1 && place >= own[i + 1]) i++;
      const width = x[i + 1] - x[i],
        height = y[i + 1] - y[i],
        mean = height / width;
      const [begin, end] = [slope[i], slope[i + 1]];
      return {x: x[i], y: y[i], width, height, mean, begin, end, excess: begin + end - 2 * mean};
    };
    function forward(spline, eps) {
      // [y, log dy/deps]
      if (Math.abs(eps) > reach) return [eps, 0];
      const b = bin(spline, spline.x, eps),
        t = (eps - b.x) / b.width,
        both = t * (1 - t);
      const below = b.mean + b.excess * both;
      const above = b.end * t * t + 2 * b.mean * both + b.begin * (1 - t) ** 2;
      return [
        b.y + (b.height * (b.mean * t * t + b.begin * both)) / below,
        2 * Math.log(b.mean) + Math.log(above) - 2 * Math.log(below),
      ];
    }
    function inverse(spline, y) {
      if (Math.abs(y) > reach) return y;
      const own = bin(spline, spline.y, y),
        risen = (y - own.y) / own.height;
      const a = own.mean - own.begin + own.excess * risen,
        b = own.begin - own.excess * risen;
      const c = -own.mean * risen,
        root = Math.sqrt(Math.max(b * b - 4 * a * c, 0));
      return own.x + own.width * (b >= 0 ? (-2 * c) / (b + root) : (root - b) / (2 * a));
    }
    function nodes(heads) {
      // Gauss-Legendre between the knots
      const spline = splineOf(heads),
        edges = [-9, ...spline.x, 9],
        z = [],
        weight = [];
      const [mean, sd] = [heads.mean[0], Math.exp(0.5 * heads.logvar[0])];
      for (let e = 0; e + 1 < edges.length; e++)
        for (let k = 0; k < 4 * GAUSS.x.length; k++) {
          const quarter = (edges[e + 1] - edges[e]) / 4,
            node = k % GAUSS.x.length;
          const middle = edges[e] + quarter * (Math.floor(k / GAUSS.x.length) + 0.5);
          const eps = middle + 0.5 * quarter * GAUSS.x[node];
          z.push(mean + sd * forward(spline, eps)[0]);
          weight.push(0.5 * quarter * GAUSS.w[node] * Math.exp(-0.5 * (eps * eps + LOG_2PI)));
        }
      const sum = weight.reduce((a, b) => a + b);
      return {z: Float64Array.from(z), weight: Float64Array.from(weight, w => w / sum)};
    }
    function logProb(heads, z) {
      const spline = splineOf(heads),
        logvar = heads.logvar[0];
      const eps = inverse(spline, (z - heads.mean[0]) * Math.exp(-0.5 * logvar));
      return -0.5 * (eps * eps + LOG_2PI) - forward(spline, eps)[1] - 0.5 * logvar;
    }
    function moments(heads) {
      const {z, weight} = nodes(heads),
        mean = z.reduce((s, v, i) => s + weight[i] * v, 0);
      return [mean, Math.sqrt(z.reduce((s, v, i) => s + weight[i] * (v - mean) ** 2, 0))];
    }
    return {nodes, logProb, moments};
  },
};

function logSum(values) {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, v) => sum + Math.exp(v - top), 0));
}
