// A network that learns in a Worker, and its controls.

class Live {
  // onNews is told when there is something new to show; begin says from what it starts.
  constructor(begin, onNews) {
    Object.assign(this, {begin, onNews, running: false, shown: false, worker: null});
    this.settings = {sigma: 0.2, beta: 1, rate: 1e-3, points: 200, turns: 1};
    byId('go').onclick = () => (this.running ? this.stop() : this.start());
    byId('fresh').onclick = () => {
      this.fresh();
      if (!this.running) this.start();
    };
    byId('leave').onclick = () => this.leave();
  }

  // Takes data, curve and sizes of a lane, and lays out the sliders for them.
  take() {
    this.from = this.begin();
    const {data, truth, rate, net, sigma, beta, learningRate} = this.from,
      dim = data.dim;
    this.turns = truth && rate ? rate / (2 * Math.PI) : null;
    Object.assign(this.settings, {
      sigma,
      beta,
      rate: learningRate,
      points: data.x.length / dim,
      turns: this.turns,
    });
    this.nets = {
      encoder: {
        ...net.encoder,
        fourier: 0,
        heads: [
          ['mean', 1],
          ['logvar', 1],
        ],
      },
      decoder: {...net.decoder, inputs: 1, heads: [['mean', dim]]},
    };
    const most = truth ? 1000 : data.x.length / dim;
    const own = [
      ['sigma', 'sigma', v => 10 ** v, Math.log10, -1.7, 0.4],
      ['beta', 'beta', v => v, v => v, 0, 4],
      ['rate', 'learning rate', v => 10 ** v, Math.log10, -4, -1.5],
      ['points', 'number of points', Math.round, v => v, 10, Math.max(most, 10), 10],
      ...(this.turns ? [['turns', 'turns per unit t', v => v, v => v, 0, 3.5]] : []),
    ];
    byId('liveControls').replaceChildren();
    for (const [name, label, from, to, min, max, step = 0.01] of own) {
      const show = () => format(this.settings[name]);
      slider(byId('liveControls'), {
        label,
        min,
        max,
        step,
        value: to(this.settings[name]),
        text: show,
        set: v => {
          this.settings[name] = from(v);
          if (['points', 'turns'].includes(name)) this.changeData();
          else this.tell({settings: this.settings});
        },
      });
    }
    this.makeData();
  }

  makeData() {
    const {data, truth, rate} = this.from,
      {dim} = data,
      {points: num, turns} = this.settings;
    const recorded = data.x.length / dim,
      turning = turns === null ? 0 : 2 * Math.PI * turns - rate;
    this.truth = truth && (turning ? truth.turned(turning) : truth);
    this.lines = this.truth && data.lines;
    let x, t;
    if (!truth || num === recorded) {
      // the page's own points, of a table the first ones
      x = Float64Array.from(data.x.subarray(0, num * dim));
      t = data.t?.subarray(0, num);
      if (turning) for (let i = 0; i < num; i++) turn(x, i, turning * t[i]);
    } else {
      const drawn = this.truth.thinned(num),
        normal = normalNumbers(randomNumbers(num));
      x = Float64Array.from(drawn.mean);
      for (let i = 0; i < num; i++) {
        const eps = Array.from({length: dim}, normal);
        for (let d = 0; d < dim; d++)
          for (let e = 0; e <= d; e++) {
            x[i * dim + d] += drawn.scale[i * dim * dim + d * dim + e] * eps[e];
          }
      }
      t = drawn.t;
    }
    this.data = withOrder({x, t: t ?? null, dim});
    if (turning) this.lines = [this.truth.mean];
    this.points =
      this.truth && dim === 2
        ? noisyPoints(this.truth.thinned(48), dim, 4).map(p => ({
            ...p,
            logTruth: logDensity(this.truth.nodes, p.x),
          }))
        : null;
    this.history = {x: [], y: []}; // KL to the truth by epoch
    return {x, points: this.points, reach: reachOf(x, dim)};
  }

  changeData() {
    const data = this.makeData();
    this.tell({...data, settings: this.settings});
    if (this.shown) this.onNews();
  }

  start() {
    if (!this.worker) {
      const source = ['model', 'exact', 'trainer']
        .map(name => byId(`${name}Script`).textContent)
        .join('\n');
      this.worker = new Worker(URL.createObjectURL(new Blob([`${source}\nwork();`])));
      this.worker.onmessage = ({data}) => this.hear(data);
    }
    if (!this.from) this.take();
    if (!this.seed) this.fresh();
    this.running = this.shown = true;
    this.tell({});
    this.label();
  }

  fresh() {
    if (!this.shown) this.take(); // of the lane that is looked at
    this.seed = 1 + Math.floor(Math.random() * 2 ** 31);
    this.first = {
      fresh: true,
      seed: this.seed,
      nets: this.nets,
      settings: this.settings,
      ...this.makeData(),
    };
    this.tell({});
  }

  tell(message) {
    // once there is a Worker, and what it has to know first
    if (!this.worker) return;
    this.worker.postMessage({...this.first, ...message, run: this.running});
    this.first = null;
  }

  stop() {
    this.running = false;
    this.tell({});
    this.label();
  }

  leave() {
    this.stop();
    this.shown = false;
    this.label();
    this.onNews();
  }

  hear({epoch, params, kl, gap, took}) {
    if (!this.shown) return;
    Object.assign(this, {epoch, kl, gap, took});
    this.model = new Model(
      this.nets,
      params,
      {scale: scaleOf(this.settings.sigma, this.data.dim)},
      {kind: 'gaussian'},
    );
    if (Number.isFinite(kl) && epoch > 1.02 * (this.history.x.at(-1) ?? 0)) {
      this.history.x.push(epoch);
      this.history.y.push(kl);
    }
    this.label();
    this.onNews();
  }

  label() {
    byId('go').textContent = this.running ? 'Stop' : 'Start';
    byId('go').setAttribute('aria-pressed', this.running);
    byId('leave').disabled = !this.shown;
    if (!this.shown) return;
    const parts = [`A new network, not a recorded lane: epoch ${this.epoch ?? 0}`];
    if (Number.isFinite(this.kl)) parts.push(`KL to the truth ${format(this.kl)}`);
    if (Number.isFinite(this.gap)) parts.push(`gap ${format(this.gap)}`);
    byId('liveText').textContent = parts.join(', ');
  }
}
