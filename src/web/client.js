// The page's script: shows the number that the server sends. It is written like the lesson's script, with
// `headcount()` of headcount.js in the place of `io()`.
import { copyButtons } from './copy.js';
import { lineIn } from './line.js';
import { aboutSignIn, showRooms } from './room.js';

// The event has only the number. Every ten seconds the page asks whether it is exact, and which instance serves
// the page.
const ASK_EVERY_MS = 10000;
const ASK_TIMEOUT_MS = 5000;
// The shortest time between two announcements to a screen reader, so that its user has time to think in between.
const ANNOUNCE_EVERY_MS = 5000;

const { locale, message, number } = globalThis.messages;
const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
const line = lineIn(byId('line'), byId('line-start'), byId('line-end'));
let connection = 'connecting';
let refusal;
let told;
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

socket.on('state', function (state, code) {
  connection = state;
  refusal = code;
  wasLive ||= state === 'live';
  // What the former connection said may be out of date.
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

// The number moves up into its place when it has grown, and down when it has shrunk.
function nudge(direction) {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  const from = { transform: `translateY(${direction * 0.06}em)` };
  byId('count').animate([from, { transform: 'none' }], { duration: 280, easing: 'ease-out' });
}

// The name of the messages that say what the state is and means.
function shownState() {
  if (connection === 'live' && !isExact) return 'estimate';
  if (connection === 'refused') return aboutSignIn(refusal) ?? 'refused';
  return connection === 'reconnecting' && !wasLive ? 'refused' : connection;
}

function showState() {
  const state = shownState();
  if (state === told) return;
  told = state;
  document.body.dataset.state = connection === 'refused' ? 'refused' : state;
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

// A peak and the visitor's time of it, with the date unless that is today: the day of the peak is one of UTC.
function showPeak(id, peak) {
  if (!peak) {
    byId(id).textContent = '–';
    return;
  }
  const at = new Date(peak.at);
  const isToday = at.toDateString() === new Date().toDateString();
  const format = isToday ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' };
  const time = new Intl.DateTimeFormat(locale, format).format(at);
  byId(id).textContent = message('peak', { count: peak.count, time });
}

// Announces the newest state in one sentence, after a pause if the last announcement was just before.
function announce() {
  clearTimeout(announcement);
  announcement = setTimeout(function () {
    announcedAt = Date.now();
    const state = message(shownState());
    byId('announcement').textContent = users === undefined ? state : message('announcement', { count: users, state });
  }, Math.max(250, announcedAt + ANNOUNCE_EVERY_MS - Date.now()));
}

// Shows the number also where the server answers this request but no websocket gets through, as behind some
// proxies. A visitor who would have to sign in gets no answer to this request either.
async function ask() {
  if (document.hidden || (connection !== 'live' && shownState() !== 'refused')) return;
  try {
    // Relative, like all addresses of this page, which may be below a path.
    const answer = await fetch('api/count', { cache: 'no-cache', signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    if (!answer.ok) return;
    const { count, exact, instance, instances, peak_today, peak_ever } = await answer.json();
    isExact = exact;
    if (!wasLive) show(count);
    byId('instance').textContent = instance ? `…${instance.slice(-6)}` : '–';
    byId('instance').title = instance || '';
    byId('instances').textContent = number(instances);
    showPeak('peak-today', peak_today);
    showPeak('peak-ever', peak_ever);
    showState();
  } catch {
    // The socket notices if the server is gone.
  }
}

copyButtons(new URL('.', location).href.replace(/\/$/, ''));
showRooms(socket);
setInterval(showAge, 1000);
setInterval(ask, ASK_EVERY_MS);
document.addEventListener('visibilitychange', ask);
