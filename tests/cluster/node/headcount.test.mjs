// The embeddable client as it is served (HEADCOUNT_JS), in a page, a clock and a network made of paper: what
// cannot be waited for in a browser. The rest is in rooms.test.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OPENING, load } from "./paper.mjs";

// Whether a new attempt is made within, but not before.
function waitsBetween(page, least, most) {
  const attempts = page.world.sockets.length;
  page.world.pass(least - 1);
  assert.equal(page.world.sockets.length, attempts, `an attempt before ${least} ms`);
  page.world.pass(most - least + 2);
  assert.equal(page.world.sockets.length, attempts + 1, `no attempt within ${most} ms`);
}

test("it finds its server, speaks the protocol and tells the count", () => {
  const page = load();
  const seen = [];
  const socket = page.window.headcount();
  socket.on("user count", (users) => seen.push(users)).on("state", (state) => seen.push(state));
  assert.equal(page.world.last().url, "wss://count.example/socket.io/?EIO=4&transport=websocket");
  page.world.serve(OPENING, '40{"sid":"x"}', '42["user count",5]', "2", '42["other",9]', '42["user count","no"]');
  assert.deepEqual(page.world.last().sent, ["40", "3"]);
  assert.deepEqual(seen, ["connecting", "live", 5]);
  // Who comes late is told the latest.
  socket.on("user count", (users) => seen.push(users));
  assert.deepEqual(seen.slice(3), [5]);
});

test("addresses are taken relative to the page, as sites write them", () => {
  const page = load();
  for (const [url, expected] of [
    ["https://a.example", "wss://a.example/socket.io/?EIO=4&transport=websocket"],
    ["http://a.example:81/", "ws://a.example:81/socket.io/?EIO=4&transport=websocket"],
    ["/count/", "wss://blog.example/count/socket.io/?EIO=4&transport=websocket"],
    ["https://a.example/live", "wss://a.example/live/socket.io/?EIO=4&transport=websocket"],
  ]) {
    page.window.headcount(url);
    assert.equal(page.world.last().url, expected);
  }
});

test("waits double up to thirty seconds, with and without luck", () => {
  for (const [random, share] of [[0, 1], [0.999999, 0.5]]) {
    const page = load({ random });
    page.window.headcount();
    for (const wait of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]) {
      page.world.cut();
      waitsBetween(page, Math.floor(wait * share), wait);
    }
  }
});

test("a count makes the next wait short again", () => {
  const page = load();
  page.window.headcount();
  for (let attempt = 0; attempt < 8; attempt++) {
    page.world.cut();
    page.world.pass(30000);
  }
  page.world.serve(OPENING, "40{}", '42["user count",1]');
  page.world.cut();
  waitsBetween(page, 500, 500);
});

test("missing pings are a lost connection, and so is a server that never speaks", () => {
  const page = load();
  const states = [];
  page.window.headcount().on("state", (state) => states.push(state));
  page.world.serve(OPENING, "40{}");
  page.world.pass(44000);
  page.world.serve("2");
  page.world.pass(44999);
  assert.equal(states.at(-1), "live");
  page.world.pass(1);
  assert.equal(states.at(-1), "reconnecting");
  assert.ok(page.world.sockets[0].isClosed);
  page.world.pass(500);
  assert.equal(page.world.sockets.length, 2);
  page.world.pass(20000 + 1000);
  assert.equal(page.world.sockets.length, 3);
});

test("it returns at once when online or shown, but not while hidden", () => {
  for (const [target, name] of [["window", "online"], ["document", "visibilitychange"]]) {
    const page = load();
    page.window.headcount();
    page.world.cut();
    page.document.hidden = true;
    page.fire(page[target], name);
    assert.equal(page.world.sockets.length, 1);
    page.document.hidden = false;
    page.fire(page[target], name);
    assert.equal(page.world.sockets.length, 2);
    // A connection that is alive stays.
    page.world.serve(OPENING, "40{}");
    page.fire(page[target], name);
    assert.equal(page.world.sockets.length, 2);
  }
});

test("it leaves with the page and returns with it", () => {
  const page = load();
  page.window.headcount();
  page.world.serve(OPENING, "40{}");
  page.fire(page.window, "pageshow");
  assert.equal(page.world.sockets.length, 1);
  page.fire(page.window, "pagehide");
  assert.ok(page.world.sockets[0].isClosed);
  page.world.pass(3600000);
  page.fire(page.window, "online");
  assert.equal(page.world.sockets.length, 1);
  page.fire(page.window, "pageshow");
  assert.equal(page.world.sockets.length, 2);
});

test("closed is closed, even from within a listener", () => {
  const page = load();
  const socket = page.window.headcount();
  const states = [];
  socket.on("user count", () => socket.close()).on("state", (state) => states.push(state));
  page.world.serve(OPENING, "40{}", '42["user count",1]');
  assert.equal(states.at(-1), "closed");
  page.world.pass(3600000);
  for (const name of ["online", "pageshow"]) page.fire(page.window, name);
  assert.equal(page.world.sockets.length, 1);
});

test("nothing is thrown into the page", () => {
  const page = load();
  assert.equal(typeof page.window.headcount("http://[").close, "function");
  const socket = page.window.headcount();
  socket.on("user count", () => {
    throw new Error("the site's own");
  });
  for (const event of ["toString", "__proto__", undefined]) socket.on(event, undefined);
  page.world.serve(OPENING, "40{}", '42["user count",1]');
  assert.equal(page.world.errors.length, 2);
  for (const rubbish of ["0{", "42[", "", "44{}", new ArrayBuffer(8)]) {
    page.world.serve(rubbish);
    page.world.pass(30000);
  }
  page.window.WebSocket = class {
    constructor() {
      throw new Error("not allowed");
    }
  };
  page.window.headcount("https://b.example");
});

test("elements need no code, and count once together with code", () => {
  const element = { dataset: { headcount: "" }, textContent: "" };
  const page = load({ elements: [element] });
  page.world.pass(0);
  assert.equal(page.world.sockets.length, 1);
  page.world.serve(OPENING, "40{}", '42["user count",12345]');
  assert.equal(element.dataset.headcount, "live");
  assert.equal(element.textContent, (12345).toLocaleString());

  const coded = load({ elements: [element] });
  coded.window.headcount();
  coded.world.pass(0);
  assert.equal(coded.world.sockets.length, 1);
});
