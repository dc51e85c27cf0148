// Tabs in the embeddable client as it is served (HEADCOUNT_JS), on paper: which key is sent when, and what happens where
// nothing can be stored.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OPENING, element, load, loadOpen } from "./paper.mjs";

const ONE = { tabs: "one" };
// What the server takes as a visitor key.
const KEY = /^[A-Za-z0-9_-]{16,64}$/;

function visitorIn(packet) {
  return JSON.parse(packet.slice(packet.indexOf("{"))).visitor;
}

// A storage that notes what is read and written.
function observed() {
  const kept = {};
  const touches = [];
  const storage = new Proxy(kept, {
    get: (_, name) => (touches.push(`get ${String(name)}`), kept[name]),
    set: (_, name, value) => (touches.push(`set ${String(name)}`), (kept[name] = String(value)), true),
  });
  return { kept, touches, storage };
}

test("without the attribute nothing is stored, read or sent", () => {
  for (const tabs of [undefined, "", "each", "One"]) {
    const { storage, touches } = observed();
    const page = loadOpen([element({ headcount: "/a" }), element({ headcount: "" })], { tabs, storage });
    assert.deepEqual(page.sent(), ["40/a,", "40"]);
    assert.deepEqual(touches, []);
  }
});

test("all tabs of a browser send one key for what counts them, and none for what they watch", () => {
  const { storage, kept } = observed();
  const elements = () => [
    element({ headcount: "/a" }),
    element({ headcount: "" }),
    element({ headcount: "/b", headcountWatch: "" }),
  ];
  const keys = [1, 2].map(() => {
    const page = loadOpen(elements(), { ...ONE, storage });
    const [room, site, watched] = page.sent();
    assert.ok(room.startsWith("40/a,{") && site.startsWith("40{"));
    assert.equal(watched, '40/b,{"watch":true}');
    assert.match(visitorIn(room), KEY);
    assert.equal(visitorIn(site), visitorIn(room));
    return visitorIn(room);
  });
  assert.equal(keys[0], keys[1]);
  assert.deepEqual(kept, { headcountVisitor: keys[0] });
});

test("the page's code sends the key too, and so does the second connection to a server", () => {
  const page = load(ONE);
  page.window.headcount().room("/a");
  page.world.serve(OPENING);
  const [site, room] = page.world.last().sent;
  page.window.headcount("https://other.example");
  page.world.serve(OPENING);
  const [other] = page.world.last().sent;
  assert.match(visitorIn(site), KEY);
  assert.deepEqual([visitorIn(room), visitorIn(other)], [visitorIn(site), visitorIn(site)]);
});

test("a key has 128 random bits, and every bit is in it", () => {
  const seen = new Set();
  const { getRandomValues } = crypto;
  try {
    for (let bit = -1; bit < 128; bit += 1) {
      crypto.getRandomValues = (words) => {
        assert.ok(words.byteLength >= 16);
        new Uint8Array(words.buffer).forEach((_, at, bytes) => (bytes[at] = 0xa5 ^ (at === bit >> 3 ? 1 << (bit & 7) : 0)));
        return words;
      };
      const page = loadOpen([element({ headcount: "" })], ONE);
      seen.add(visitorIn(page.sent()[0]));
    }
  } finally {
    crypto.getRandomValues = getRandomValues;
  }
  assert.equal(seen.size, 129);
  for (const key of seen) assert.match(key, KEY);
});

test("two browsers have two keys", () => {
  const [one, other] = [{}, {}].map((storage) => {
    const page = loadOpen([element({ headcount: "" })], { ...ONE, storage });
    return visitorIn(page.sent()[0]);
  });
  assert.notEqual(one, other);
});

test("a lost connection returns with the key, and with a new one if the visitor has cleared the storage", () => {
  const { storage, kept } = observed();
  const page = loadOpen([element({ headcount: "" })], { ...ONE, storage });
  const again = () => {
    page.world.cut();
    page.world.pass(500);
    page.world.serve(OPENING, "40{}", '42["user count",1]');
    return visitorIn(page.sent()[0]);
  };
  const first = visitorIn(page.sent()[0]);
  assert.equal(again(), first);
  delete kept.headcountVisitor;
  const second = again();
  assert.match(second, KEY);
  assert.notEqual(second, first);
  assert.equal(again(), second);
});

test("a page may ask for it later, and stop to ask, from its next connection on", () => {
  const page = loadOpen([element({ headcount: "" })]);
  assert.deepEqual(page.sent(), ["40"]);
  for (const [tabs, isKnown] of [["one", true], [undefined, false]]) {
    page.world.tabs = tabs;
    page.world.cut();
    page.world.pass(500);
    page.world.serve(OPENING, "40{}", '42["user count",1]');
    assert.equal(page.sent()[0] !== "40", isKnown);
  }
});

test("where nothing can be stored each tab is counted, and nothing is thrown", () => {
  const denied = () => {
    throw new Error("SecurityError");
  };
  const full = new Proxy({}, { set: denied });
  const forgetful = new Proxy({}, { set: () => true });
  const absent = () => undefined;
  for (const storage of [denied, full, forgetful, absent]) {
    const page = loadOpen([element({ headcount: "" }), element({ headcount: "/a" })], { ...ONE, storage });
    const packets = page.sent();
    assert.deepEqual(packets.map((packet) => packet.replace("{}", "")), ["40", "40/a,"]);
    page.world.serve("40{}", '42["user count",1]');
    assert.equal(page.world.elements[0].textContent, "1");
    assert.deepEqual(page.world.errors, []);
  }
});
