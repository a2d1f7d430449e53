// Exact answers about a model: its evidence, its posterior and the gap, by quadrature in float64.

const GAUSS = (() => {
  // 16 nodes of Gauss-Legendre on [-1, 1]
  const n = 16,
    x = [],
    w = [];
  for (let i = 0; i < n; i++) {
    let t = -Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)),
      slope = 0;
    for (let step = 1; Math.abs(step) > 1e-15;) {
      let [before, value] = [1, t];
      for (let k = 2; k <= n; k++) {
        [before, value] = [value, ((2 * k - 1) * t * value - (k - 1) * before) / k];
      }
      slope = (n * (t * value - before)) / (t * t - 1);
      step = value / slope;
      t -= step;
      if (Math.abs(step) < 4e-16) break;
    }
    x.push(t);
    w.push(2 / ((1 - t * t) * slope * slope));
  }
  return {x, w};
})();
const GRID = 2048; // places at which a curve is looked at, before its panels are laid
const PANEL_LENGTH = 4; // in sigma
const MAX_PANELS = 8192; // beyond, sigma is too small for a page

// Quadrature nodes of p(z) p(x|z) with what their densities need: log weight with the noise's
// determinant, mean [K, D], whitener [K, D, D] (the inverse of the scale), dof.
function mixture({z, logMass, mean, scale, dof = null}) {
  const n = z.length,
    dim = mean.length / n,
    logWeight = Float64Array.from(logMass);
  const whitener = new Float64Array(scale.length);
  let diagonal = true;
  for (let k = 0; k < n; k++) {
    const at = k * dim * dim;
    for (let i = 0; i < dim; i++) {
      const own = scale[at + i * dim + i];
      logWeight[k] -= Math.log(own);
      whitener[at + i * dim + i] = 1 / own;
      if (dof) logWeight[k] += studentConstant(dof[k * dim + i]);
      else logWeight[k] -= 0.5 * LOG_2PI;
      for (let j = 0; j < i; j++) {
        let sum = 0;
        for (let m = j; m < i; m++) sum += scale[at + i * dim + m] * whitener[at + m * dim + j];
        whitener[at + i * dim + j] = -sum / own;
        if (sum) diagonal = false;
      }
    }
  }
  return {z, logMass, logWeight, mean, scale, whitener, dof, dim, diagonal};
}

function logGamma(x) {
  // of x > 0, by Stirling's series from 15 on
  let shift = 0;
  for (; x < 15; x++) shift -= Math.log(x);
  const y = 1 / (x * x);
  return (
    shift +
    (x - 0.5) * Math.log(x) -
    x +
    0.5 * LOG_2PI +
    (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x
  );
}
const studentConstant = dof =>
  logGamma(0.5 * (dof + 1)) - logGamma(0.5 * dof) - 0.5 * Math.log(Math.PI * dof);

// Nodes of a model with a standard normal prior, on panels even in arc length measured in sigma.
// `reach`: how far from the curve a point may lie. Null where sigma is too small for a page.
function modelNodes(model, reach) {
  const {dim} = model;
  const look = model.observe(Float64Array.from({length: 257}, (_, i) => -12 + (24 * i) / 256));
  const stop = Math.min(400, Math.max(12, reach / leastScale(look, dim)));
  const start = Math.asinh(stop / 4),
    z = new Float64Array(GRID + 1);
  for (let i = 0; i <= GRID; i++) z[i] = 4 * Math.sinh(start * ((2 * i) / GRID - 1));
  const {mean, scale} = model.observe(z),
    total = new Float64Array(GRID + 1);
  const slope = new Float64Array(dim),
    size = dim * dim;
  const least = Float64Array.from(z, (_, i) => leastOf(scale, i * size, dim));
  for (let i = 0; i < GRID; i++) {
    const dz = z[i + 1] - z[i];
    let length = 0,
      bend = 0,
      change = 0;
    for (let d = 0; d < dim; d++) {
      const step = mean[(i + 1) * dim + d] - mean[i * dim + d];
      length += step * step;
      if (i) bend += (step / dz - slope[d]) ** 2;
      slope[d] = step / dz;
    }
    for (let k = 0; k < size; k++) change += (scale[(i + 1) * size + k] - scale[i * size + k]) ** 2;
    bend = Math.sqrt(bend) * dz;
    const sigma = Math.min(least[i], least[i + 1]);
    const arc = Math.sqrt(length + reach * bend + (reach * reach * change) / (sigma * sigma));
    total[i + 1] = total[i] + arc / (PANEL_LENGTH * sigma) + dz;
  }
  const num = Math.ceil(total[GRID]);
  if (!(num <= MAX_PANELS)) return null;
  const nodes = new Float64Array(16 * num),
    logMass = new Float64Array(16 * num);
  for (let p = 0, j = 0, left = z[0]; p < num; p++) {
    const goal = (total[GRID] * (p + 1)) / num;
    while (j < GRID - 1 && total[j + 1] < goal) j++;
    const share = (goal - total[j]) / (total[j + 1] - total[j]);
    const right = p + 1 === num ? z[GRID] : z[j] + (z[j + 1] - z[j]) * share;
    for (let k = 0; k < 16; k++) {
      const node = 0.5 * (left + right) + 0.5 * (right - left) * GAUSS.x[k],
        at = 16 * p + k;
      nodes[at] = node;
      logMass[at] = Math.log(0.5 * (right - left) * GAUSS.w[k]) - 0.5 * (node * node + LOG_2PI);
    }
    left = right;
  }
  return mixture({z: nodes, logMass, ...model.observe(nodes)});
}
function leastOf(scale, at, dim) {
  // smallest standard deviation of a lower triangular scale
  if (dim === 2) {
    const [a, b, d] = [scale[at], scale[at + 2], scale[at + 3]];
    return 0.5 * Math.abs(Math.hypot(a + d, b) - Math.hypot(a - d, b));
  }
  let least = Infinity;
  for (let d = 0; d < dim; d++) least = Math.min(least, scale[at + d * dim + d]);
  return least;
}
function leastScale({scale}, dim) {
  let least = Infinity;
  for (let at = 0; at < scale.length; at += dim * dim) {
    least = Math.min(least, leastOf(scale, at, dim));
  }
  return least;
}

// log p(x|z) with the weight of each node, of one x [D].
function logTerms(nodes, x, out) {
  const {logWeight, mean, whitener, dof, dim} = nodes,
    n = logWeight.length;
  let top = -Infinity;
  for (let k = 0; k < n; k++) {
    let sum = logWeight[k];
    if (dim === 2 && !dof) {
      // by far the most frequent
      const dx = x[0] - mean[2 * k],
        dy = x[1] - mean[2 * k + 1];
      const a = whitener[4 * k] * dx,
        b = whitener[4 * k + 2] * dx + whitener[4 * k + 3] * dy;
      sum -= 0.5 * (a * a + b * b);
    } else {
      for (let i = 0; i < dim; i++) {
        let y = 0;
        for (let j = 0; j <= i; j++) {
          y += whitener[k * dim * dim + i * dim + j] * (x[j] - mean[k * dim + j]);
        }
        const own = dof ? dof[k * dim + i] : 0;
        sum -= dof ? 0.5 * (own + 1) * Math.log1p((y * y) / own) : 0.5 * y * y;
      }
    }
    out[k] = sum;
    if (sum > top) top = sum;
  }
  return top;
}
let terms = new Float64Array(0);
function logDensity(nodes, x) {
  const n = nodes.logWeight.length;
  if (terms.length < n) terms = new Float64Array(2 * n);
  const top = logTerms(nodes, x, terms);
  let sum = 0;
  for (let k = 0; k < n; k++) if (terms[k] > top - 40) sum += Math.exp(terms[k] - top);
  return top + Math.log(sum);
}

// The bound of q of one point: E_q log p(x|z) - KL(q || p(z)).
function elbo(model, family, heads, x, num = 256) {
  const {z, weight} = family.nodes(heads, num),
    n = z.length;
  const nodes = mixture({z, logMass: new Float64Array(n), ...model.observe(z)});
  const found = new Float64Array(n);
  logTerms(nodes, x, found);
  let reconstruction = 0,
    kl = family.kl ? family.kl(heads) : 0;
  for (let i = 0; i < n; i++) {
    reconstruction += weight[i] * found[i];
    if (!family.kl) {
      kl += weight[i] * (family.logProb(heads, z[i]) + 0.5 * (z[i] * z[i] + LOG_2PI));
    }
  }
  return reconstruction - kl;
}
const GAUSSIAN = FAMILIES.gaussian();
const gaussian = (mean, logvar) => ({mean: [mean], logvar: [logvar]});

// The best Gaussian of one point: Nelder-Mead over mean and logvar, from several starts.
function bestGaussian(model, x, starts) {
  const loss = ([mean, logvar]) => -elbo(model, GAUSSIAN, gaussian(mean, logvar), x, 48);
  let best = null;
  for (const [mean, logvar] of starts) {
    const sd = Math.exp(0.5 * logvar);
    const corners = [
      [mean, logvar],
      [mean + 0.2 * sd, logvar],
      [mean, logvar + 0.4],
    ];
    const simplex = corners.map(place => ({place, loss: loss(place)}));
    for (let step = 0; step < 60; step++) {
      simplex.sort((a, b) => a.loss - b.loss);
      if (simplex[2].loss - simplex[0].loss < 1e-8) break;
      const [first, second, worst] = simplex;
      const centre = [0, 1].map(i => (first.place[i] + second.place[i]) / 2);
      const at = factor => {
        const place = centre.map((c, i) => c + factor * (worst.place[i] - c));
        return {place, loss: loss(place)};
      };
      const mirrored = at(-1);
      if (mirrored.loss < first.loss) {
        const further = at(-2);
        simplex[2] = further.loss < mirrored.loss ? further : mirrored;
      } else if (mirrored.loss < second.loss) {
        simplex[2] = mirrored;
      } else {
        const nearer = at(mirrored.loss < worst.loss ? -0.5 : 0.5);
        if (nearer.loss < Math.min(mirrored.loss, worst.loss)) simplex[2] = nearer;
        else
          for (const one of [second, worst]) {
            one.place = one.place.map((v, i) => (v + first.place[i]) / 2);
            one.loss = loss(one.place);
          }
      }
    }
    simplex.sort((a, b) => a.loss - b.loss);
    if (!best || simplex[0].loss < best.loss) best = simplex[0];
  }
  const [mean, logvar] = best.place;
  return {mean, logvar, elbo: elbo(model, GAUSSIAN, gaussian(mean, logvar), x)};
}

// All about one point x: log p(x), the exact posterior and its moments, the bound, the best
// Gaussian.
function judge(model, nodes, x, heads) {
  const logEvidence = logDensity(nodes, x),
    n = nodes.z.length;
  let mean = 0,
    square = 0;
  for (let k = 0; k < n; k++) {
    const mass = Math.exp(terms[k] - logEvidence);
    mean += mass * nodes.z[k];
    square += mass * nodes.z[k] ** 2;
  }
  const variance = Math.max(square - mean * mean, 1e-12);
  const starts = [[mean, Math.log(variance)]];
  let bound = NaN;
  if (model.family) {
    const [m, sd] = model.family.moments(heads);
    starts.push([m, 2 * Math.log(sd)]);
    bound = elbo(model, model.family, heads, x);
  }
  const best = bestGaussian(model, x, starts);
  const density = z => {
    // p(z|x) at places
    const own = mixture({z, logMass: z.map(v => -0.5 * (v * v + LOG_2PI)), ...model.observe(z)});
    const found = new Float64Array(z.length);
    logTerms(own, x, found);
    return found.map(v => Math.exp(v - logEvidence));
  };
  return {
    logEvidence,
    mean,
    sd: Math.sqrt(variance),
    elbo: bound,
    best,
    density,
    gap: logEvidence - bound,
    approximation: logEvidence - best.elbo,
    amortisation: best.elbo - bound,
  };
}

// The inference gap, mean over points x [n, D]: all of them, or every so many.
function meanGap(model, nodes, x, every = 1, num = 256) {
  const {dim} = model,
    n = x.length / dim,
    heads = model.encode(x);
  let sum = 0,
    count = 0;
  for (let i = 0; i < n; i += every, count++) {
    const point = x.subarray(i * dim, (i + 1) * dim);
    sum += logDensity(nodes, point) - elbo(model, model.family, headsAt(heads, i, n), point, num);
  }
  return sum / count;
}

// p(x) of the plane on size x size pixels: each node adds its noise, seen through a pixel.
function shade(nodes, left, pixel, size, out) {
  const {z, logMass, mean, scale, dof, diagonal} = nodes,
    row = new Float64Array(size);
  const blur = (pixel / 2) ** 2,
    tail = dof ? 12 : 5;
  out.fill(0);
  for (let k = 0; k < z.length; k++) {
    const mass = Math.exp(logMass[k]);
    if (mass < 1e-8) continue;
    const a = scale[4 * k],
      b = scale[4 * k + 2],
      d = scale[4 * k + 3];
    const xx = a * a + blur,
      xy = a * b,
      yy = b * b + d * d + blur;
    const span = (m, variance) => {
      const reach = tail * Math.sqrt(variance);
      return [
        Math.max(0, Math.ceil((m - reach - left) / pixel)),
        Math.min(size - 1, Math.floor((m + reach - left) / pixel)),
      ];
    };
    const [i0, i1] = span(mean[2 * k], xx),
      [j0, j1] = span(mean[2 * k + 1], yy);
    const law = (y, variance, own) =>
      own
        ? Math.exp(studentConstant(own) - 0.5 * (own + 1) * Math.log1p((y * y) / variance / own))
        : Math.exp((-0.5 * y * y) / variance);
    const norm = dof
      ? mass / Math.sqrt(xx * yy)
      : mass / (2 * Math.PI * Math.sqrt(xx * yy - xy * xy));
    for (let i = i0; i <= i1; i++) {
      row[i] = law(left + i * pixel - mean[2 * k], xx, dof?.[2 * k]);
    }
    // Of correlated noise: x alone, then y given x.
    const rest = yy - (xy * xy) / xx;
    for (let j = j0; j <= j1; j++) {
      const y = left + j * pixel - mean[2 * k + 1],
        at = j * size;
      if (diagonal) {
        const column = norm * law(y, yy, dof?.[2 * k + 1]);
        for (let i = i0; i <= i1; i++) out[at + i] += column * row[i];
      } else {
        for (let i = i0; i <= i1; i++) {
          const given = y - (xy / xx) * (left + i * pixel - mean[2 * k]);
          out[at + i] += norm * row[i] * Math.exp((-0.5 * given * given) / rest);
        }
      }
    }
  }
  return out;
}

// Nodes of x under the truth, in the plane or not: its own nodes times Gauss-Hermite of the noise.
const HERMITE = {
  4: [
    [-2.334414218338977, -0.7419637843027258, 0.7419637843027258, 2.334414218338977],
    [0.045875854768068, 0.454124145231932, 0.454124145231932, 0.045875854768068],
  ],
  7: [
    [
      -3.750439717725742, -2.366759410734541, -1.154405394739968, 0, 1.154405394739968,
      2.366759410734541, 3.750439717725742,
    ],
    [
      5.482688559722179e-4, 0.03075712396758651, 0.2401231786050127, 0.4571428571428571,
      0.2401231786050127, 0.03075712396758651, 5.482688559722179e-4,
    ],
  ],
};
function noisyPoints({mean, scale, mass}, dim, order) {
  const [eps, weight] = HERMITE[order],
    points = [];
  for (let k = 0; k < mass.length; k++)
    for (let c = 0; c < order ** dim; c++) {
      const x = Array.from(mean.subarray(k * dim, (k + 1) * dim));
      let w = mass[k];
      for (let j = 0, rest = c; j < dim; j++, rest = Math.floor(rest / order)) {
        w *= weight[rest % order];
        for (let i = j; i < dim; i++) {
          x[i] += scale[k * dim * dim + i * dim + j] * eps[rest % order];
        }
      }
      points.push({x, w, place: k});
    }
  return points;
}
// KL(p*||p) of points that know log p*.
function klToTruth(points, nodes) {
  let kl = 0,
    mass = 0;
  for (const {x, w, logTruth} of points) {
    kl += w * (logTruth - logDensity(nodes, x));
    mass += w;
  }
  return kl / mass;
}

// The truth, from its own nodes: {t, mass, mean, scale} and the first node of each piece.
class Truth {
  constructor({dim, sigma, t, mass, mean, scale, starts}) {
    Object.assign(this, {dim, sigma, t, mass, mean, scale, starts});
    this.nodes = mixture({z: t, logMass: mass.map(Math.log), mean, scale});
  }

  points(order) {
    return noisyPoints(this, this.dim, order).map(p => ({
      ...p,
      logTruth: logDensity(this.nodes, p.x),
    }));
  }

  // The same with every point turned by `rate` t, which changes the turns of a spiral.
  turned(rate) {
    const mean = Float64Array.from(this.mean);
    for (let k = 0; k < this.t.length; k++) turn(mean, k, rate * this.t[k]);
    return new Truth({...this, mean});
  }

  // Node and share towards the next, below which a share u of the mass lies.
  place(u) {
    const total = this.mass.reduce((a, b) => a + b);
    let k = 0,
      sum = 0;
    while (k < this.mass.length - 1 && sum + this.mass[k] < u * total) sum += this.mass[k++];
    const next = this.starts.includes(k + 1) || k + 1 === this.mass.length ? k : k + 1;
    return [k, next, Math.min(1, Math.max(0, (u * total - sum) / this.mass[k]))];
  }

  // Few places, even in mass, with their means and scales.
  thinned(num) {
    const at = (values, size, [k, next, share]) =>
      Array.from(
        {length: size},
        (_, i) => (1 - share) * values[k * size + i] + share * values[next * size + i],
      );
    const places = Array.from({length: num}, (_, i) => this.place((i + 0.5) / num));
    return {
      t: Float64Array.from(places.flatMap(p => at(this.t, 1, p))),
      mean: Float64Array.from(places.flatMap(p => at(this.mean, this.dim, p))),
      scale: Float64Array.from(places.flatMap(p => at(this.scale, this.dim ** 2, p))),
      mass: new Float64Array(num).fill(1 / num),
    };
  }
}
function turn(x, i, angle) {
  const [a, b, cos, sin] = [x[2 * i], x[2 * i + 1], Math.cos(angle), Math.sin(angle)];
  [x[2 * i], x[2 * i + 1]] = [cos * a - sin * b, sin * a + cos * b];
}
