// The page's script: shows what the server says. Written as the lesson has it; `headcount()` comes from
// headcount.js and stands where the lesson has `io()`.
import { copyButtons } from './copy.js';
import { lineIn } from './line.js';

// The event is the bare number. Whether it is exact, and who serves it, is asked for now and then.
const ASK_EVERY_MS = 10000;
const ASK_TIMEOUT_MS = 5000;
// A screen reader is told this often at most; who listens to a page should be able to think in between.
const ANNOUNCE_EVERY_MS = 5000;

const { locale, message, number } = globalThis.messages;
const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
const line = lineIn(byId('line'), byId('line-start'), byId('line-end'));
let connection = 'connecting';
let wasLive = false;
let isExact = true;
let users;
let highest = 0;
let changedAt;
let announcedAt = 0;
let announcement = 0;

const socket = headcount();

socket.on('user count', function (data) {
  console.log(data);
  show(data);
});

socket.on('state', function (state) {
  connection = state;
  wasLive ||= state === 'live';
  // What was heard over another connection may be long over.
  isExact = true;
  if (state !== 'live') line.interrupt();
  showState();
  ask();
});

function byId(id) {
  return document.getElementById(id);
}

function show(count) {
  const before = users;
  users = count;
  highest = Math.max(highest, count);
  changedAt = Date.now();
  const text = number(count);
  byId('count').textContent = text;
  byId('count').classList.toggle('long', text.length > 4);
  byId('people').textContent = message('people', { count });
  byId('highest').textContent = number(highest);
  document.title = message('title', { count });
  showAge();
  line.add(count);
  if (before !== undefined && before !== count) nudge(count > before ? 1 : -1);
  announce();
}

// The number comes from below when it has grown, from above when it has shrunk.
function nudge(direction) {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  const from = { transform: `translateY(${direction * 0.06}em)` };
  byId('count').animate([from, { transform: 'none' }], { duration: 280, easing: 'ease-out' });
}

function shownState() {
  if (connection === 'live' && !isExact) return 'estimate';
  return connection === 'reconnecting' && !wasLive ? 'refused' : connection;
}

function showState() {
  const state = shownState();
  if (document.body.dataset.state === state) return;
  document.body.dataset.state = state;
  byId('state').textContent = message(state);
  byId('meaning').textContent = message(`${state}-meaning`);
  announce();
}

function showAge() {
  if (!changedAt) return;
  const seconds = Math.round((Date.now() - changedAt) / 1000);
  byId('changed').textContent =
    seconds < 60 ? relative.format(-seconds, 'second') : relative.format(-Math.round(seconds / 60), 'minute');
}

// The newest state in one sentence, after a pause if one was told just before.
function announce() {
  clearTimeout(announcement);
  announcement = setTimeout(function () {
    announcedAt = Date.now();
    const state = message(shownState());
    byId('announcement').textContent = users === undefined ? state : message('announcement', { count: users, state });
  }, Math.max(250, announcedAt + ANNOUNCE_EVERY_MS - Date.now()));
}

// A server that answers this but lets no connection through, as some proxies do, still shows its number.
async function ask() {
  if (document.hidden || (connection !== 'live' && shownState() !== 'refused')) return;
  try {
    // Relative, as all addresses of this page: it may stand below a path.
    const answer = await fetch('api/count', { cache: 'no-cache', signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    const { count, exact, instance, instances } = await answer.json();
    isExact = exact;
    if (!wasLive) show(count);
    byId('instance').textContent = instance ? `…${instance.slice(-6)}` : '–';
    byId('instance').title = instance || '';
    byId('instances').textContent = number(instances);
    showState();
  } catch {
    // The socket will tell if the server is gone.
  }
}

copyButtons(new URL('.', location).href.replace(/\/$/, ''));
setInterval(showAge, 1000);
setInterval(ask, ASK_EVERY_MS);
document.addEventListener('visibilitychange', ask);
