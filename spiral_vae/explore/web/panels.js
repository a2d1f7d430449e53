// Panels: axes and marks in SVG, the density on a canvas. Each is drawn anew from what is shown.

const byId = id => document.getElementById(id);
function svg(tag, attributes = {}, parent = null) {
  const found = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const name in attributes) found.setAttribute(name, attributes[name]);
  parent?.append(found);
  return found;
}

function format(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace('e+', 'e');
  return String(+value.toPrecision(digits));
}
const extent = values => {
  const finite = Array.from(values).filter(Number.isFinite);
  return [Math.min(...finite), Math.max(...finite)];
};

// How values of an axis are spread: linear, logarithmic, or linear near 0 and logarithmic beyond.
const SPREADS = {
  linear: v => v,
  log: v => Math.log10(Math.max(v, 1e-12)),
  signed: v => Math.asinh(v / 0.04),
};

function ticks({low, high, spread = 'linear', labels}, most) {
  if (labels) return labels.map((_, i) => i);
  const found = [];
  if (spread === 'linear') {
    const rough = 10 ** Math.floor(Math.log10((high - low) / most));
    const step = rough * [1, 2, 5, 10].find(m => (high - low) / (rough * m) <= most);
    for (let v = Math.ceil(low / step - 1e-9); v * step <= high + 1e-9 * step; v++) {
      found.push(+(v * step).toPrecision(12));
    }
    return found;
  }
  if (spread === 'signed') {
    return [-1e4, -100, -10, -1, 0, 0.1, 1, 10, 100, 1e4, 1e6].filter(v => low <= v && v <= high);
  }
  const decades = Math.log10(high / low),
    every = Math.max(1, Math.ceil(decades / most));
  const parts = decades < 1 ? [1, 2, 3, 4, 6, 8] : decades < 1.7 ? [1, 2, 5] : [1];
  for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
    for (const m of p % every ? [] : parts) {
      const v = +(m * 10 ** p).toPrecision(3);
      if (v >= low && v <= high) found.push(v);
    }
  }
  return found;
}
const tickText = v => (Math.abs(v) >= 1000 && Math.abs(v) < 1e6 ? `${v / 1000}k` : format(v));

class Panel {
  constructor(id, label, height) {
    // height in parts of the width
    const box = byId(id);
    this.width = Math.max(260, box.clientWidth || 380);
    this.height = Math.round(this.width * height);
    Object.assign(this, {left: 46, right: 10, top: 6, bottom: 34, axesKey: ''});
    this.x = this.y = () => NaN; // until there are axes
    this.svg = svg(
      'svg',
      {
        viewBox: `0 0 ${this.width} ${this.height}`,
        role: 'img',
        'aria-label': label,
      },
      box,
    );
    this.back = svg('g', {}, this.svg);
    const clip = svg('clipPath', {id: `${id}Clip`}, svg('defs', {}, this.svg));
    svg(
      'rect',
      {
        x: this.left,
        y: this.top,
        width: this.width - this.left - this.right,
        height: this.height - this.top - this.bottom,
      },
      clip,
    );
    this.marks = svg('g', {'clip-path': `url(#${id}Clip)`}, this.svg);
  }

  // Sets both axes, {low, high, name, spread, labels}; draws them if they differ from before.
  axes(x, y) {
    const [fx, fy] = [SPREADS[x.spread ?? 'linear'], SPREADS[y.spread ?? 'linear']];
    const [x0, x1, y0, y1] = [fx(x.low), fx(x.high), fy(y.low), fy(y.high)];
    const {left, right, top, bottom, width, height} = this;
    this.x = v => left + ((fx(v) - x0) / (x1 - x0)) * (width - left - right);
    this.y = v => height - bottom - ((fy(v) - y0) / (y1 - y0)) * (height - top - bottom);
    const key = JSON.stringify([x, y]);
    if (key === this.axesKey) return;
    this.axesKey = key;
    this.back.replaceChildren();
    const floor = height - bottom;
    for (const v of ticks(x, 5)) {
      svg('line', {class: 'grid', x1: this.x(v), x2: this.x(v), y1: top, y2: floor}, this.back);
      svg('text', {x: this.x(v), y: floor + 14, 'text-anchor': 'middle'}, this.back).textContent =
        x.labels?.[v] ?? tickText(v);
    }
    for (const v of ticks(y, 5)) {
      svg(
        'line',
        {class: 'grid', x1: left, x2: width - right, y1: this.y(v), y2: this.y(v)},
        this.back,
      );
      svg('text', {x: left - 5, y: this.y(v) + 4, 'text-anchor': 'end'}, this.back).textContent =
        tickText(v);
    }
    svg('path', {class: 'axis', d: `M${left},${top}V${floor}H${width - right}`}, this.back);
    svg(
      'text',
      {x: (left + width - right) / 2, y: height - 5, 'text-anchor': 'middle'},
      this.back,
    ).textContent = x.name;
    const middle = (top + floor) / 2;
    svg(
      'text',
      {transform: `translate(11,${middle}) rotate(-90)`, 'text-anchor': 'middle'},
      this.back,
    ).textContent = y.name;
  }

  line(colour, more = {}) {
    return svg(
      'path',
      {
        fill: 'none',
        style: `stroke:var(--${colour})`,
        'stroke-width': 2,
        ...more,
      },
      this.marks,
    );
  }
  dots(colour, width) {
    return this.line(colour, {'stroke-width': width, 'stroke-linecap': 'round'});
  }
  ring(colour) {
    return svg(
      'circle',
      {
        r: 7,
        fill: 'none',
        style: `stroke:var(--${colour})`,
        'stroke-width': 2.5,
        cx: -99,
        cy: -99,
      },
      this.marks,
    );
  }

  at(x, y) {
    // on the panel or not far from it
    const [px, py] = [this.x(x), this.y(y)];
    if (!Number.isFinite(px + py)) return null;
    const near = (v, size) => Math.max(-size, Math.min(2 * size, v)).toFixed(1);
    return `${near(px, this.width)},${near(py, this.height)}`;
  }
  through(xs, ys) {
    // a path
    let path = '',
      next = 'M';
    for (let i = 0; i < xs.length; i++) {
      const place = this.at(xs[i], ys[i]);
      if (place) path += next + place;
      next = place ? 'L' : 'M';
    }
    return path;
  }
  places(xs, ys) {
    return Array.from(xs, (x, i) => this.at(x, ys[i]))
      .filter(Boolean)
      .map(p => `M${p}h0`)
      .join('');
  }
  move(mark, x, y) {
    const place = this.at(x, y)?.split(',') ?? [-99, -99];
    mark.setAttribute('cx', place[0]);
    mark.setAttribute('cy', place[1]);
  }

  // Where a pointer is, in the panel's units, and how many of these a pixel has.
  pointer(event) {
    const box = this.svg.getBoundingClientRect(),
      unit = this.width / box.width;
    return [(event.clientX - box.left) * unit, (event.clientY - box.top) * unit, unit];
  }
  nearest(event, xs, ys, reach = 30) {
    const [px, py, unit] = this.pointer(event);
    let found = -1,
      least = (reach * unit) ** 2;
    for (let i = 0; i < xs.length; i++) {
      const distance = (this.x(xs[i]) - px) ** 2 + (this.y(ys[i]) - py) ** 2;
      if (distance < least) [found, least] = [i, distance];
    }
    return found;
  }
}
const put = (mark, path) => mark.setAttribute('d', path);
const column = (x, dim, d) => Array.from({length: x.length / dim}, (_, i) => x[i * dim + d]);
const span = (low, high, num) =>
  Float64Array.from({length: num}, (_, i) => low + ((high - low) * i) / (num - 1));

class DataPanel extends Panel {
  constructor() {
    super('data', 'Data, true and learned curve, learned density, chosen point', 0.99);
    this.canvas = document.createElement('canvas');
    this.size = this.canvas.width = this.canvas.height = 160;
    byId('data').prepend(this.canvas);
    const {left, right, top, bottom, width, height} = this,
      style = this.canvas.style;
    style.left = `${(100 * left) / width}%`;
    style.top = `${(100 * top) / height}%`;
    style.width = `${(100 * (width - left - right)) / width}%`;
    style.height = `${(100 * (height - top - bottom)) / height}%`;
    this.field = new Float64Array(this.size ** 2);
    this.points = this.dots('data', 5);
    this.truth = this.line('truth', {'stroke-dasharray': '5 3', 'stroke-width': 1.5});
    this.curve = this.line('model', {'stroke-width': 2.2});
    this.residual = this.line('encoder');
    this.chosen = this.ring('encoder');
  }

  draw({data, truth, lines, model, nodes}) {
    const {x, dim} = data;
    if (data !== this.data || lines !== this.lines) {
      [this.data, this.lines] = [data, lines];
      const [xs, ys] = [column(x, dim, 0), column(x, dim, 1)];
      const middles = [xs, ys]
        .map(v => extent(v))
        .map(([low, high]) => [(low + high) / 2, high - low]);
      const half = 0.54 * Math.max(...middles.map(([, width]) => width));
      [this.low, this.half] = [middles.map(([middle]) => middle - half), half];
      const axis = (d, name) => ({low: this.low[d], high: this.low[d] + 2 * half, name});
      this.axes(axis(0, 'x₁'), axis(1, 'x₂'));
      put(this.points, this.places(xs, ys));
      put(
        this.truth,
        (truth ? lines : [])
          .map(line => this.through(column(line, dim, 0), column(line, dim, 1)))
          .join(''),
      );
    }
    const mean = model?.decode(span(-4, 4, 401));
    put(this.curve, mean ? this.through(column(mean, dim, 0), column(mean, dim, 1)) : '');
    this.shade(dim === 2 ? nodes : null, truth);
  }

  shade(nodes, truth) {
    const {size, field, low, half} = this,
      pixel = (2 * half) / size;
    const context = this.canvas.getContext('2d');
    context.clearRect(0, 0, size, size);
    if (!nodes) return;
    // Shifted, so that one `left` serves both axes.
    const moved = {...nodes, mean: nodes.mean.map((v, i) => v - low[i % 2])};
    shade(moved, pixel / 2, pixel, size, field);
    let top = 0;
    for (const v of field) if (v > top) top = v;
    if (truth) top = Math.min(top, 2 * truth.top); // the same shade for the same density
    const image = context.createImageData(size, size),
      [r, g, b] = shadeColour();
    for (let j = 0; j < size; j++)
      for (let i = 0; i < size; i++) {
        const at = 4 * ((size - 1 - j) * size + i);
        image.data.set([r, g, b, 215 * Math.sqrt(Math.min(1, field[j * size + i] / top))], at);
      }
    context.putImageData(image, 0, 0);
  }

  choose({data, model}, i, mean) {
    const {x, dim} = data,
      [a, b] = [x[i * dim], x[i * dim + 1]];
    this.move(this.chosen, a, b);
    const found = mean === null ? null : model.decode(Float64Array.of(mean));
    put(this.residual, found ? this.through([a, found[0]], [b, found[1]]) : '');
  }
}
const shadeColour = () =>
  getComputedStyle(document.documentElement)
    .getPropertyValue('--shade')
    .trim()
    .split(' ')
    .map(Number);

class LatentPanel extends Panel {
  constructor() {
    super('latent', 'Mean and standard deviation of q(z|x) against t', 0.64);
    this.bars = this.line('encoder', {'stroke-width': 1, opacity: 0.45});
    this.points = this.dots('encoder', 4.5);
    this.chosen = this.ring('ink');
  }

  draw({data, moments}) {
    if (!moments) return [this.bars, this.points].forEach(mark => put(mark, ''));
    const means = moments.map(([mean]) => mean),
      [low, high] = extent(means);
    const [from, to] = extent(data.along),
      half = Math.max(3, Math.ceil(1.1 * Math.max(-low, high)));
    const margin = 0.03 * (to - from || 1);
    this.axes(
      {
        low: from - margin,
        high: to + margin,
        name: data.t ? 'true t' : 'point, by its first coordinate',
      },
      {low: -half, high: half, name: 'z'},
    );
    put(this.points, this.places(data.along, means));
    put(
      this.bars,
      moments
        .map(([mean, sd], i) =>
          this.through([data.along[i], data.along[i]], [mean - sd, mean + sd]),
        )
        .join(''),
    );
  }

  choose({data, moments}, i) {
    this.move(this.chosen, data.along[i], moments ? moments[i][0] : NaN);
  }
}

class PosteriorPanel extends Panel {
  constructor() {
    super('posterior', 'Posterior of the chosen point: exact, encoder, best Gaussian', 0.6);
    this.exact = this.line('model', {
      style: 'fill:var(--model);fill-opacity:0.3;stroke:var(--model)',
      'stroke-width': 1,
    });
    this.encoder = this.line('encoder');
    this.best = this.line('best', {'stroke-dasharray': '6 3'});
  }

  draw({model}, heads, found) {
    if (!found) {
      [this.exact, this.encoder, this.best].forEach(mark => put(mark, ''));
      return (byId('gap').textContent = 'Not for this lane.');
    }
    const {family} = model,
      [mean, sd] = family ? family.moments(heads) : [found.mean, found.sd];
    const low = Math.min(found.mean - 4 * found.sd, mean - 4 * sd);
    const high = Math.max(found.mean + 4 * found.sd, mean + 4 * sd);
    const z = span(low, high, 301),
      exact = found.density(z);
    const best = z.map(v => Math.exp(normalLog(v, found.best.mean, found.best.logvar)));
    const own = family ? z.map(v => Math.exp(family.logProb(heads, v))) : z.map(() => NaN);
    const peak = extent([...exact, ...best])[1];
    const top = 1.06 * Math.min(Math.max(peak, family ? extent(own)[1] : 0), 3 * peak);
    this.axes({low, high, name: 'z'}, {low: 0, high: top, name: 'density'});
    put(this.exact, `${this.through([low, ...z, high], [0, ...exact, 0])}Z`);
    put(this.encoder, this.through(z, own));
    put(this.best, this.through(z, best));
    const {logEvidence, elbo: bound, gap, approximation, amortisation} = found;
    byId('gap').textContent = family
      ? `log p ${format(logEvidence)} = ELBO ${format(bound)} + gap ${format(gap)} nats: ` +
        `approximation ${format(Math.max(0, approximation))}, amortisation ${format(amortisation)}`
      : `log p ${format(logEvidence)} nats; the best Gaussian is ${format(approximation)} below it`;
  }
}

class LanesPanel extends Panel {
  constructor() {
    super('lanes', 'A metric of all lanes against the first axis', 0.6);
    this.band = this.line('model', {style: 'fill:var(--model);fill-opacity:0.15;stroke:none'});
    this.truth = this.line('truth', {'stroke-dasharray': '5 3', 'stroke-width': 1.5});
    this.points = this.dots('data', 5);
    this.median = this.line('model');
    this.own = this.line('encoder', {'stroke-dasharray': '2 3'});
    this.live = svg(
      'path',
      {style: 'fill:var(--best)', d: 'M0,-8L8,0L0,8L-8,0Z', transform: 'translate(-99,-99)'},
      this.marks,
    );
    this.chosen = this.ring('encoder');
  }

  draw({axes, at, lane, metric, values, truth}) {
    const [axis] = axes,
      stride = values.length / axis.values.length;
    this.xs = values.map((_, i) => axis.values[Math.floor(i / stride)]);
    this.ys = values.map(v => (v === null ? NaN : Number(v)));
    const log = metric.log && this.ys.some(v => v > 0);
    const [low, high] = extent(log ? this.ys.filter(v => v > 0) : this.ys);
    const [from, to] = extent(axis.values),
      margin = 0.06 * (high - low) || 0.1;
    const x = axis.log
      ? {low: from / 1.15, high: to * 1.15, spread: 'log'}
      : {low: from - 0.05 * (to - from || 2), high: to + 0.05 * (to - from || 2)};
    this.axes(
      {...x, name: axis.path, labels: axis.numbers ? undefined : axis.text},
      log
        ? {low: low / 1.3, high: high * 1.3, spread: 'log', name: metric.label}
        : {low: low - margin, high: high + margin, name: metric.label},
    );
    put(this.points, this.places(this.xs, this.ys));
    const seeds = axes.at(-1).values.length,
      same = i => {
        // lanes that differ by the seed alone
        const first = laneAt(axes, [i, ...at.slice(1, -1), ...(axes.length > 1 ? [0] : [])]);
        const own = this.ys.slice(first, first + (axes.length > 1 ? seeds : 1));
        return own.filter(Number.isFinite).sort((a, b) => a - b);
      };
    const rank = (sorted, share) => {
      const place = share * (sorted.length - 1),
        i = Math.floor(place);
      return sorted.length
        ? sorted[i] + (place - i) * ((sorted[i + 1] ?? sorted[i]) - sorted[i])
        : NaN;
    };
    const along = axis.values.map((_, i) => same(i)),
      shares = share => along.map(v => rank(v, share));
    put(this.median, this.through(axis.values, shares(0.5)));
    const there = axis.values.map((_, i) => i).filter(i => along[i].length > 1),
      back = there.toReversed();
    const [bottom, top] = [shares(0.1), shares(0.9)];
    put(
      this.band,
      there.length < 2
        ? ''
        : `${this.through(
            [...there, ...back].map(i => axis.values[i]),
            [...there.map(i => bottom[i]), ...back.map(i => top[i])],
          )}Z`,
    );
    put(
      this.own,
      this.through(
        axis.values,
        axis.values.map((_, i) => this.ys[laneAt(axes, [i, ...at.slice(1)])]),
      ),
    );
    this.move(this.chosen, this.xs[lane], this.ys[lane]);
    const sigma = axis.path === 'likelihood.sigma' ? truth?.sigma : NaN;
    put(this.truth, sigma ? `M${this.x(sigma)},${this.top}V${this.height - this.bottom}` : '');
    byId('trueSigma').hidden = !sigma;
  }

  showLive(x, y) {
    const place = x === null ? null : this.at(x, y);
    this.live.setAttribute('transform', `translate(${place ?? '-99,-99'})`);
  }
}
const laneAt = (axes, at) => at.reduce((lane, i, k) => lane * axes[k].values.length + i, 0);

// Curves of the training: what a lane's film saw, or its looks, the terms of the bound, and what a
// network that learns here has come to.
const CURVES = [
  {name: 'kl_to_truth', text: 'KL to the truth', colour: 'model', dash: ''},
  {name: 'inference_gap', text: 'inference gap', colour: 'encoder', dash: '6 2'},
  {name: 'kl', text: 'KL to the prior', colour: 'data', dash: '2 3'},
  {name: 'reconstruction', text: 'reconstruction', colour: 'truth', dash: '9 3 2 3'},
  {name: 'live', text: 'KL to the truth, learning here', colour: 'best', dash: '12 2'},
];
class TrainingPanel extends Panel {
  constructor() {
    super('training', 'Metrics along the training', 0.56);
    this.lines = {};
    for (const {name, text, colour, dash} of CURVES) {
      this.lines[name] = this.line(colour, {'stroke-dasharray': dash});
      const entry = document.createElement('span'),
        key = svg('svg', {width: 24, height: 8}, entry);
      svg(
        'line',
        {
          x2: 24,
          y1: 4,
          y2: 4,
          'stroke-width': 2,
          style: `stroke:var(--${colour})`,
          'stroke-dasharray': dash,
        },
        key,
      );
      entry.append(` ${text}`);
      entry.dataset.name = name;
      byId('curves').append(entry);
    }
    this.now = this.line('encoder', {'stroke-width': 1.5});
  }

  draw({curves, end}) {
    const starts = Object.values(curves).map(({x}) => x.find(epoch => epoch > 0) ?? end);
    const first = Math.max(1, Math.min(...starts));
    const all = Object.values(curves)
      .flatMap(({y}) => y)
      .filter(Number.isFinite);
    const [low, high] = all.length ? extent(all) : [0, 1];
    this.axes(
      {low: first, high: Math.max(end, first + 1) * 1.1, spread: 'log', name: 'epoch'},
      {
        low: Math.min(0, low) - 0.01,
        high: high * 1.2 + 0.02,
        spread: 'signed',
        name: 'nats per point',
      },
    );
    this.first = first;
    for (const {name} of CURVES) {
      const curve = curves[name];
      const shown = curve && {
        x: curve.x.map(e => Math.max(e, first)),
        y: curve.y.map(v => v ?? NaN),
      };
      put(this.lines[name], shown ? this.through(shown.x, shown.y) : '');
      byId('curves').querySelector(`[data-name=${name}]`).hidden = !curve;
    }
  }

  mark(epoch) {
    const x = this.x(Math.max(epoch, this.first));
    put(this.now, `M${x},${this.top}V${this.height - this.bottom}`);
  }
}
