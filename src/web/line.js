// The line of the last minutes: the counts that this page has received since it was opened, drawn as steps, since
// people come and go one by one.

const { locale, message, number } = globalThis.messages;
const SVG = 'http://www.w3.org/2000/svg';
const WINDOW_MS = 5 * 60 * 1000;
// A page that was just opened has little to show: the time axis starts short and grows.
const SHORTEST_WINDOW_MS = 20 * 1000;
const REDRAW_EVERY_MS = 1000;
// One step per two pixels is the most that is visible.
const POINTS_MAX = 500;
// With few people a step of one person should look like a step, not like a cliff.
const RANGE_MIN = 4;
const MARGIN = { top: 10, right: 8, bottom: 6, left: 0 };

export function lineIn(svg, startLabel, endLabel) {
  let openedAt = Date.now();
  // Each value holds from its time on; `null` means that nothing was known.
  let points = [];
  let isDue = false;
  endLabel.textContent = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }).format(0, 'second');

  const parts = {};
  for (const [name, tag] of [
    ['top', 'line'], ['bottom', 'line'], ['area', 'path'], ['trace', 'path'],
    ['most', 'text'], ['least', 'text'], ['head', 'circle'],
  ]) {
    parts[name] = svg.appendChild(document.createElementNS(SVG, tag));
  }
  set(parts.area, { class: 'area' });
  set(parts.trace, { class: 'trace' });
  set(parts.head, { class: 'head', r: 6, visibility: 'hidden' });
  for (const rule of [parts.top, parts.bottom]) set(rule, { class: 'rule' });
  for (const mark of [parts.most, parts.least]) set(mark, { class: 'mark', 'aria-hidden': 'true' });

  function push(value) {
    const at = Date.now();
    if (points.length && points.at(-1).value === value) return;
    points.push({ at, value });
    if (points.length > POINTS_MAX) points = thinned(points);
    draw();
  }

  // At most once a frame, and not at all in a hidden tab.
  function draw() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(function () {
      isDue = false;
      redraw(Date.now());
    });
  }

  function redraw(now) {
    const span = Math.min(WINDOW_MS, Math.max(SHORTEST_WINDOW_MS, now - openedAt));
    const start = now - span;
    // The left edge shows the last point before the window.
    const first = points.findLastIndex((point) => point.at <= start);
    if (first > 0) points = points.slice(first);
    const known = points.filter((point) => point.value !== null).map((point) => point.value);
    startLabel.textContent = spanInWords(span);
    if (!known.length) return;

    const { width, height } = svg.getBoundingClientRect();
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const { low, high } = rangeOf(known);
    const right = width - MARGIN.right;
    const x = (at) => MARGIN.left + ((Math.max(at, start) - start) / span) * (right - MARGIN.left);
    const y = (value) => height - MARGIN.bottom - ((value - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    const steps = stepsOf(points, now, x, y);
    set(parts.trace, { d: steps.map((step) => step.line).join('') });
    set(parts.area, { d: steps.map((step) => `${step.line}V${height}H${step.left}Z`).join('') });
    drawMarks(Math.min(...known), Math.max(...known), y, width);
    const last = points.at(-1).value;
    set(parts.head, last === null ? { visibility: 'hidden' } : { cx: right, cy: y(last), visibility: 'visible' });
  }

  function drawMarks(least, most, y, width) {
    set(parts.top, { x1: 0, x2: width, y1: y(most), y2: y(most) });
    set(parts.bottom, { x1: 0, x2: width, y1: y(least), y2: y(least) });
    set(parts.most, { x: 0, y: y(most) - 5 });
    set(parts.least, { x: 0, y: y(least) - 5, visibility: least === most ? 'hidden' : 'visible' });
    parts.most.textContent = number(most);
    parts.least.textContent = number(least);
    set(svg, { 'aria-label': message(least === most ? 'line-level' : 'line-range', { least, most, count: most }) });
  }

  // Forgets everything: the line is for something else now.
  function restart() {
    points = [];
    openedAt = Date.now();
    for (const part of [parts.area, parts.trace]) set(part, { d: '' });
    for (const mark of [parts.most, parts.least]) mark.textContent = '';
    set(parts.head, { visibility: 'hidden' });
    set(svg, { 'aria-label': message('line') });
  }

  new ResizeObserver(draw).observe(svg);
  setInterval(draw, REDRAW_EVERY_MS);
  return { add: push, interrupt: () => push(null), restart };
}

// One path for every period without an interruption: across at the old value, then up or down to the new one.
function stepsOf(points, now, x, y) {
  const steps = [];
  let step = null;
  points.forEach(function ({ at, value }, index) {
    if (value === null) {
      step = null;
      return;
    }
    const left = x(at);
    if (!step) steps.push((step = { left, line: `M${left} ${y(value)}` }));
    const until = points[index + 1]?.at ?? now;
    step.line += `V${y(value)}H${x(until)}`;
  });
  return steps;
}

// Keeps every second point, all interruptions and the newest value.
function thinned(points) {
  return points.filter((point, index) => index % 2 || point.value === null || index === points.length - 1);
}

function rangeOf(values) {
  const least = Math.min(...values);
  const most = Math.max(...values);
  const missing = Math.max(0, RANGE_MIN - (most - least));
  const low = Math.max(0, least - missing / 2);
  return { low, high: Math.max(most + missing / 2, low + RANGE_MIN) };
}

function spanInWords(span) {
  const seconds = Math.round(span / 1000);
  const ago = new Intl.RelativeTimeFormat(locale);
  return seconds < 60 ? ago.format(-seconds, 'second') : ago.format(-Math.floor(seconds / 60), 'minute');
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}
