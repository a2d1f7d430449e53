// What is shown, the controls that change it, and the link that keeps it.

const run = JSON.parse(byId('content').textContent);
const {axes} = run;
const datasets = run.data.map(({x, t, dim, total}) =>
  withOrder({
    x: Float64Array.from(new Float32Array(bytesOf(x))),
    t: t && Float64Array.from(new Float32Array(bytesOf(t))),
    dim,
    total,
  }),
);
const truths = run.truths.map(one => {
  const numbers = name => new Float64Array(bytesOf(one[name]));
  const found = new Truth({
    ...one,
    t: numbers('t'),
    mass: numbers('mass'),
    mean: numbers('mean'),
    scale: numbers('scale'),
  });
  found.lines = one.lines.map(line => Float64Array.from(new Float32Array(bytesOf(line))));
  const {mean} = found.thinned(24); // the density along the curve, for the shading
  found.top = Math.max(
    ...Array.from({length: 24}, (_, i) =>
      Math.exp(logDensity(found.nodes, mean.subarray(i * one.dim, (i + 1) * one.dim))),
    ),
  );
  return found;
});
const films = new Map(run.films.map(film => [film.lane, film]));
const lastEpoch = run.training.epoch.at(-1);
const state = {
  at: axes.map(axis => axis.start),
  epoch: lastEpoch,
  point: 0,
  metric: run.metrics[0].name,
};

function withOrder(data) {
  // the points' places along t, or else along the first coordinate
  const along = data.t ?? Float64Array.from(column(data.x, data.dim, 0));
  return {...data, along, order: [...along.keys()].sort((a, b) => along[a] - along[b])};
}
function reachOf(x, dim) {
  let reach = 0;
  for (let i = 0; i < x.length; i += dim)
    reach = Math.max(reach, Math.hypot(...x.subarray(i, i + dim)));
  return 1.5 * reach;
}
const lane = () => laneAt(axes, state.at);
const framesOf = number => films.get(number)?.epochs ?? [lastEpoch];
function frameOf(number) {
  // the nearest to the epoch that is asked for
  const away = framesOf(number).map(e => Math.abs(Math.log((e + 1) / (state.epoch + 1))));
  return away.indexOf(Math.min(...away));
}

// The model of a lane at a frame of its film; the last one is that of the end.
function modelOf(number, frame) {
  const own = run.lanes[number],
    film = films.get(number),
    nets = run.nets[own.net];
  let [params, noise] = [null, own.noise];
  if (!film || frame === film.epochs.length - 1) {
    params = new Float32Array(bytesOf(run.params[number]));
  } else {
    film.halves ??= halves(film.params);
    const size = film.halves.length / film.epochs.length;
    params = film.halves.subarray(frame * size, (frame + 1) * size);
    noise = film.noises ? film.noises[frame] : noise;
  }
  return new Model(nets, Float64Array.from(params), noise, own.posterior);
}

// All that the panels draw, and sentences on what they can't.
function shownNow() {
  if (live.shown && live.model) {
    const {data, truth, lines, model} = live;
    return evaluated({data, truth, lines, model, notes: [], lane: lane(), latents: 1, live: true});
  }
  const number = lane(),
    own = run.lanes[number],
    frame = frameOf(number);
  const data = datasets[own.data],
    truth = own.truth === null ? null : truths[own.truth];
  const notes = [],
    epoch = framesOf(number)[frame];
  if (data.total > data.order.length)
    notes.push(`${data.order.length} of ${data.total} points are shown.`);
  if (run.status[number] !== 'ok') notes.push(`This lane: ${run.status[number]}.`);
  if (!films.has(number) && films.size) notes.push('This lane has no film here, its end alone.');
  if (!films.size)
    notes.push('This run has no snapshots along its training: its end alone is shown.');
  const model = own.latents === 1 && data.dim > 1 ? modelOf(number, frame) : null;
  return evaluated({
    data,
    truth,
    lines: truth?.lines,
    model,
    notes,
    lane: number,
    frame,
    epoch,
    latents: own.latents,
    kind: own.posterior.kind,
  });
}
function evaluated(shown) {
  const {data, model, notes} = shown,
    n = data.order.length;
  if (shown.latents > 1)
    notes.push('With two latents density, latent and posterior are not shown.');
  if (data.dim === 1) notes.push('With data of one dimension the numbers alone are shown.');
  if (data.dim > 2) notes.push(`Of ${data.dim} dimensions two are shown, without density.`);
  if (model && !model.noise) {
    notes.push('The page has no description of this noise: density and posterior are left out.');
  }
  if (model && !model.family) notes.push(`The page does not know the posterior '${shown.kind}'.`);
  const nodes = model?.noise ? modelNodes(model, reachOf(data.x, data.dim)) : null;
  if (model?.noise && !nodes)
    notes.push('This sigma is too small for the page: the recorded numbers alone.');
  const heads = model?.family ? model.encode(data.x) : null;
  const moments =
    heads && data.along.length === n
      ? Array.from({length: n}, (_, i) => model.family.moments(headsAt(heads, i, n)))
      : null;
  return {...shown, nodes, heads, moments};
}

// --- controls ---
const sliders = [];
function slider(parent, {label, min, max, step, value, text, set, button}) {
  const box = document.createElement('div'),
    id = `slider${document.querySelectorAll('input').length}`;
  box.className = 'slider';
  box.innerHTML = `<label for="${id}"><span></span><output></output></label><div></div>`;
  const [name, output] = box.querySelectorAll('span, output'),
    input = document.createElement('input');
  name.textContent = label;
  Object.assign(input, {type: 'range', id, min, max, step, value});
  if (button) box.lastChild.append(button);
  box.lastChild.append(input);
  parent.append(box);
  const show = () => {
    output.textContent = text();
    input.setAttribute('aria-valuetext', text());
  };
  input.oninput = () => {
    set(+input.value);
    show();
  };
  show();
  return {box, input, show};
}
function addSliders() {
  const add = (options, get, most) => {
    const own = slider(byId('controls'), {min: 0, max: most(), step: 1, value: get(), ...options});
    sliders.push({
      ...own,
      sync() {
        own.input.max = most();
        own.input.disabled = most() === 0;
        own.input.value = get();
        own.show();
      },
    });
  };
  axes.forEach(
    (axis, k) =>
      axis.values.length > 1 &&
      add(
        {
          label: axis.path,
          text: () => axis.text[state.at[k]],
          set: i => change(() => (state.at[k] = i)),
        },
        () => state.at[k],
        () => axis.values.length - 1,
      ),
  );
  if (films.size)
    add(
      {
        label: 'epoch',
        text: () => String(framesOf(lane())[frameOf(lane())]),
        button: playButton(),
        set: i => change(() => (state.epoch = framesOf(lane())[i])),
      },
      () => frameOf(lane()),
      () => framesOf(lane()).length - 1,
    );
  add(
    {
      label: 'point',
      text: () => `${shown.data.t ? 't =' : 'at'} ${format(shown.data.along[chosen()])}`,
      set: i => change(() => (state.point = i)),
    },
    () => state.point,
    () => shown.data.order.length - 1,
  );
}
const chosen = () => shown.data.order[Math.min(state.point, shown.data.order.length - 1)];

let playing = null;
function playButton() {
  const button = document.createElement('button');
  const label = () => {
    button.textContent = playing ? '⏸' : '▶';
    button.setAttribute('aria-label', playing ? 'pause the film' : 'play the film of the training');
  };
  const step = () => {
    const frames = framesOf(lane()),
      next = frameOf(lane()) + 1;
    if (next < frames.length) change(() => (state.epoch = frames[next]));
    if (next >= frames.length - 1) playing = void clearInterval(playing);
    label();
  };
  button.onclick = () => {
    const frames = framesOf(lane());
    if (playing) {
      playing = void clearInterval(playing);
    } else {
      if (frameOf(lane()) === frames.length - 1) change(() => (state.epoch = frames[0]));
      playing = setInterval(step, 150);
    }
    label();
  };
  label();
  return button;
}

let pending = 0;
function change(how) {
  // and draw once before the next frame
  how();
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    draw();
  });
}

// --- drawing ---
let shown = null,
  drawn = {};
function draw() {
  const key = live.shown ? null : `${lane()} ${frameOf(lane())}`;
  if (key === null || key !== drawn.key) {
    shown = shownNow();
    panels.data.draw(shown);
    panels.latent.draw(shown);
    panels.training.draw(curvesOf(shown.lane));
    byId('notes').textContent = shown.notes.join(' ');
    for (const one of document.querySelectorAll('.ofTruth')) one.hidden = !shown.truth;
    byId('shading').hidden = !shown.nodes || shown.data.dim !== 2;
  }
  const metric = run.metrics.find(({name}) => name === state.metric);
  panels.lanes.draw({
    axes,
    at: state.at,
    lane: shown.lane,
    metric,
    values: metric.values,
    truth: shown.truth,
  });
  panels.training.mark(live.shown ? (live.epoch ?? 0) : shown.epoch);
  const onAxis =
    live.shown && axes[0].path === 'likelihood.sigma' && state.metric === 'kl_to_truth';
  panels.lanes.showLive(onAxis ? live.settings.sigma : null, live.kl);
  drawPoint();
  drawCards();
  sliders.forEach(one => one.sync());
  drawn.key = key;
  keep();
}
function drawPoint() {
  const i = chosen(),
    {data, model, nodes, heads} = shown,
    n = data.order.length;
  const own = heads && headsAt(heads, i, n),
    x = data.x.subarray(i * data.dim, (i + 1) * data.dim);
  shown.judged = nodes ? judge(model, nodes, x, own) : null;
  panels.posterior.draw(shown, own, shown.judged);
  panels.data.choose(shown, i, shown.moments ? shown.moments[i][0] : null);
  panels.latent.choose(shown, i);
}

const CARDS = [
  'kl_to_truth',
  'inference_gap',
  'order_of_curve',
  'kl_to_prior',
  'nll',
  'nll_held_out',
  'train_log_evidence',
];
function cardsNow() {
  // [[label, value, metric]]
  if (shown.live) {
    return [
      ['verdict', 'a new network'],
      ['epoch', String(live.epoch)],
      ['kl to truth, nats', format(live.kl), 'kl_to_truth'],
      ['inference gap, nats', format(live.gap), 'inference_gap'],
    ];
  }
  const film = films.get(shown.lane),
    atEnd = shown.epoch === framesOf(shown.lane).at(-1);
  const verdict = run.verdict[shown.lane] || run.status[shown.lane];
  const found = [[atEnd ? 'verdict' : 'verdict, at the end', verdict, 'verdict']];
  const known = CARDS.map(card => run.metrics.find(({name}) => name === card)).filter(Boolean);
  for (const metric of known.slice(0, 5)) {
    const value = atEnd ? metric.values[shown.lane] : film.looks[metric.name]?.[shown.frame];
    found.push([metric.label, format(value, 4), metric.name]);
  }
  return found;
}
function drawCards() {
  byId('cards').replaceChildren(
    ...cardsNow().map(([label, value, name = '']) => {
      const card = document.createElement('div'),
        text = document.createElement('span');
      const number = document.createElement('b');
      [text.textContent, number.textContent, card.dataset.name] = [label, value, name];
      card.append(text, number);
      return card;
    }),
  );
}
function curvesOf(number) {
  const film = films.get(number),
    {terms, epoch, looks, lookEpoch} = run.training,
    found = {};
  for (const name of ['kl_to_truth', 'inference_gap']) {
    const y = film?.looks[name] ?? looks[name]?.[number];
    if (y) found[name] = {x: film?.looks[name] ? film.epochs : lookEpoch, y};
  }
  for (const name in terms) found[name] = {x: epoch, y: terms[name][number]};
  if (live.shown && live.history.y.length) found.live = live.history;
  return {curves: found, end: Math.max(lastEpoch, live.shown ? (live.epoch ?? 0) : 0)};
}

// --- the link and what is said ---
const where = () => axes.map((axis, k) => `${axis.path}=${axis.text[state.at[k]]}`);
function keep() {
  byId('shown').textContent = `${where().join(', ')}, epoch ${shown.epoch ?? live.epoch}`;
  clearTimeout(drawn.timer);
  drawn.timer = setTimeout(() => {
    const parts = [
      ...where(),
      `epoch=${state.epoch}`,
      `point=${state.point}`,
      `metric=${state.metric}`,
    ];
    try {
      history.replaceState(null, '', `#${parts.map(encodeURI).join('&')}`);
    } catch {
      /* in a frame without an address of its own */
    }
    byId('say').textContent = live.shown
      ? ''
      : [
          `${byId('shown').textContent}`,
          ...cardsNow().map(([label, value]) => `${label} ${value}`),
        ].join(', ');
  }, 500);
}
function restore() {
  for (const part of location.hash.slice(1).split('&').map(decodeURI)) {
    const [name, value] = part.split('='),
      k = axes.findIndex(axis => axis.path === name);
    if (k >= 0 && axes[k].text.includes(value)) state.at[k] = axes[k].text.indexOf(value);
    if (name === 'epoch' && Number.isFinite(+value)) state.epoch = +value;
    if (name === 'point' && Number.isInteger(+value) && +value >= 0) state.point = +value;
    if (name === 'metric' && run.metrics.some(metric => metric.name === value))
      state.metric = value;
  }
}

// --- pointers ---
function listen() {
  const choose = (panel, xs, ys) => event => {
    const i = panel.nearest(event, xs(), ys());
    if (i >= 0) change(() => (state.point = shown.data.order.indexOf(i)));
  };
  const {data, latent, lanes, training} = panels;
  data.svg.onpointermove = data.svg.onpointerdown = choose(
    data,
    () => column(shown.data.x, shown.data.dim, 0),
    () => column(shown.data.x, shown.data.dim, 1),
  );
  latent.svg.onpointermove = latent.svg.onpointerdown = choose(
    latent,
    () => (shown.moments ? shown.data.along : []),
    () => shown.moments?.map(([mean]) => mean),
  );
  lanes.svg.onpointerdown = event => {
    let number = lanes.nearest(event, lanes.xs, lanes.ys);
    if (number < 0) return;
    if (live.shown) live.leave();
    change(() => {
      for (let k = axes.length - 1; k >= 0; k--) {
        state.at[k] = number % axes[k].values.length;
        number = Math.floor(number / axes[k].values.length);
      }
    });
  };
  lanes.svg.onpointermove = event => {
    const number = lanes.nearest(event, lanes.xs, lanes.ys),
      tip = byId('tip');
    tip.hidden = number < 0;
    if (number < 0) return;
    const parts = axes.map((axis, k) => {
      const stride = axes.slice(k + 1).reduce((size, {values}) => size * values.length, 1);
      return `${axis.path} ${axis.text[Math.floor(number / stride) % axis.values.length]}`;
    });
    tip.textContent = `${parts.join(', ')}: ${format(lanes.ys[number])}`;
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  };
  lanes.svg.onpointerleave = () => (byId('tip').hidden = true);
  training.svg.style.touchAction = 'none';
  training.svg.onpointerdown = training.svg.onpointermove = event => {
    if (event.type === 'pointermove' && !event.buttons) return;
    const [x] = training.pointer(event),
      frames = framesOf(lane());
    const away = frames.map(epoch => Math.abs(training.x(Math.max(epoch, training.first)) - x));
    change(() => (state.epoch = frames[away.indexOf(Math.min(...away))]));
  };
}

// --- start ---
const panels = {
  data: new DataPanel(),
  latent: new LatentPanel(),
  posterior: new PosteriorPanel(),
  lanes: new LanesPanel(),
  training: new TrainingPanel(),
};
const live = new Live(
  () => {
    const own = run.lanes[lane()],
      data = datasets[own.data],
      truth = own.truth === null ? null : truths[own.truth];
    const scale = own.noise?.scale,
      sigma = truth?.sigma ?? (scale ? scale[0][0] : 0.2);
    return {
      data: {...data, lines: truth?.lines},
      truth,
      sigma,
      beta: own.beta ?? 1,
      rate: own.truth === null ? null : run.truths[own.truth].rate,
      net: run.nets[own.net],
      learningRate: Math.min(0.03, Math.max(1e-4, own.rate)),
    };
  },
  () => change(() => {}),
);
for (const {name, label, meaning} of run.metrics) {
  const option = new Option(label, name);
  option.title = meaning;
  byId('metric').add(option);
}
if (run.metrics.some(({name}) => name === 'kl_to_truth')) state.metric = 'kl_to_truth';
restore();
byId('metric').value = state.metric;
byId('metric').onchange = event => change(() => (state.metric = event.target.value));
byId('live').ontoggle = () => !live.from && live.take();
byId('live').hidden = datasets[0].dim === 1;
shown = shownNow();
if (state.point === 0 && !location.hash.includes('point='))
  state.point = Math.floor(shown.data.order.length / 2);
addSliders();
listen();
draw();
matchMedia('(prefers-color-scheme: dark)').onchange = () => {
  drawn.key = null;
  change(() => {});
};
