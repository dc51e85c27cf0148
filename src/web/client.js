// The page's script: shows what the server says. Written as the lesson has it; `headcount()` comes from
// headcount.js and stands where the lesson has `io()`.
import { copyButtons } from './copy.js';
import { lineIn } from './line.js';

// The event is the bare number. Whether it is exact, and who serves it, is asked for now and then.
const ASK_EVERY_MS = 10000;
const ASK_TIMEOUT_MS = 5000;
// A screen reader is told this often at most; who listens to a page should be able to think in between.
const ANNOUNCE_EVERY_MS = 5000;

const WORDS = {
  connecting: ['Connecting', 'One moment, please.'],
  live: ['Live', 'You are one of them. Every change shows here at once.'],
  reconnecting: ['Reconnecting', 'The connection is lost. This is the last number known; the page returns by itself.'],
  estimate: ['Estimate', 'The servers cannot reach their shared store, so this number may be a little off.'],
  closed: ['Closed', 'This page does not listen any more.'],
};

const line = lineIn(byId('line'), byId('line-start'));
let connection = 'connecting';
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
  // What was heard over another connection may be long over.
  isExact = true;
  if (state !== 'live') line.interrupt();
  showState();
  ask();
});

function byId(id) {
  return document.getElementById(id);
}

function show(number) {
  const before = users;
  users = number;
  highest = Math.max(highest, number);
  changedAt = Date.now();
  const text = number.toLocaleString();
  byId('count').textContent = text;
  byId('count').classList.toggle('long', text.length > 4);
  byId('people').textContent = number === 1 ? 'person is here right now' : 'people are here right now';
  byId('highest').textContent = highest.toLocaleString();
  document.title = `${text} online – Headcount`;
  showAge();
  line.add(number);
  if (before !== undefined && before !== number) nudge(number > before ? 1 : -1);
  announce();
}

// The number comes from below when it has grown, from above when it has shrunk.
function nudge(direction) {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  const from = { transform: `translateY(${direction * 0.06}em)` };
  byId('count').animate([from, { transform: 'none' }], { duration: 280, easing: 'ease-out' });
}

function shownState() {
  return connection === 'live' && !isExact ? 'estimate' : connection;
}

function showState() {
  const state = shownState();
  if (document.body.dataset.state === state) return;
  const [word, meaning] = WORDS[state];
  document.body.dataset.state = state;
  byId('state').textContent = word;
  byId('meaning').textContent = meaning;
  announce();
}

function showAge() {
  if (!changedAt) return;
  const seconds = Math.round((Date.now() - changedAt) / 1000);
  const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: 'auto' });
  byId('changed').textContent =
    seconds < 60 ? relative.format(-seconds, 'second') : relative.format(-Math.round(seconds / 60), 'minute');
}

// The newest state in one sentence, after a pause if one was told just before.
function announce() {
  clearTimeout(announcement);
  announcement = setTimeout(function () {
    announcedAt = Date.now();
    const number = users === undefined ? '' : `${users.toLocaleString()} online. `;
    byId('announcement').textContent = number + WORDS[shownState()][0];
  }, Math.max(250, announcedAt + ANNOUNCE_EVERY_MS - Date.now()));
}

async function ask() {
  if (connection !== 'live' || document.hidden) return;
  try {
    const answer = await fetch('/api/count', { cache: 'no-cache', signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    const { exact, instance, instances } = await answer.json();
    isExact = exact;
    byId('instance').textContent = instance ? `…${instance.slice(-6)}` : '–';
    byId('instance').title = instance || '';
    byId('instances').textContent = instances.toLocaleString();
    showState();
  } catch {
    // The socket will tell if the server is gone.
  }
}

copyButtons(location.origin);
setInterval(showAge, 1000);
setInterval(ask, ASK_EVERY_MS);
document.addEventListener('visibilitychange', ask);
