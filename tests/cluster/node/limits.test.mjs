// Limits in the embeddable client as it is served (HEADCOUNT_JS), on paper: how many rooms there may be, how often they may
// change, and which names they may have.

import assert from "node:assert/strict";
import { test } from "node:test";
import { element, load, loadOpen } from "./paper.mjs";

const WATCH = '{"watch":true}';
// What the server allows: changes of rooms at once, and per second.
const CHANGES_BURST = 448;
const CHANGES_PER_SECOND = 20;

function watching(name) {
  return element({ headcount: name, headcountWatch: "" });
}

test("nothing is joined while there is something to leave, and then all is", () => {
  const page = loadOpen([1, 2, 3].map((number) => element({ headcount: `/old/${number}` })));
  assert.deepEqual(page.sent(), ["40/old/1,", "40/old/2,", "40/old/3,"]);
  page.world.elements.splice(0, 3, element({ headcount: "/new/1" }), element({ headcount: "/new/2" }));
  page.world.changed();
  assert.deepEqual(page.sent(), []);
  page.world.serve("40/old/1,{}", '44/old/2,{"message":"no"}', "40/old/3,{}");
  assert.deepEqual(page.sent(), ["41/old/1,", "41/old/3,", "40/new/1,", "40/new/2,"]);
});

test("each place that becomes free goes to a room that was refused for want of one", () => {
  const elements = [..."abcde"].map((name) => element({ headcount: `/${name}` }));
  elements.push(watching("/w"), watching("/x"));
  const page = loadOpen(elements);
  const refuse = (name, code) => page.world.serve(`44/${name},{"message":"no","data":{"code":"${code}"}}`);
  page.world.serve("40/a,{}", "40/b,{}", "40/w,{}");
  for (const name of "cdx") refuse(name, "too_many_rooms");
  refuse("e", "room_not_allowed");
  page.sent();
  elements.splice(1, 1);
  page.world.changed();
  assert.deepEqual(page.sent(), ["41/b,", "40/c,"]);
  assert.equal(elements[1].dataset.headcountState, "refused");
  page.world.serve("40/c,{}");
  assert.equal(elements[1].dataset.headcountState, "live");
  elements.splice(elements.findIndex(({ dataset }) => dataset.headcount === "/w"), 1);
  page.world.changed();
  assert.deepEqual(page.sent(), ["41/w,", `40/x,${WATCH}`]);
  // A room that is given up leaves no place.
  elements.splice(elements.findIndex(({ dataset }) => dataset.headcount === "/e"), 1);
  page.world.changed();
  assert.deepEqual(page.sent(), []);
});

test("whoever scrolls through a long list stays below the rate that the server allows", () => {
  const items = Array.from({ length: 20000 }, (_, number) => watching(`/shoes/${number}`));
  const page = loadOpen(items.slice(0, 20));
  let left = CHANGES_BURST;
  let sent = 0;
  const isIn = new Set();
  const serve = () => {
    for (const packet of page.sent().filter((packet) => packet !== "3")) {
      const [, kind, name] = /^(4[01])([^,]*),/.exec(packet);
      sent += 1;
      left -= 1;
      assert.ok(left >= 0, `${sent} changes are too many`);
      isIn[kind === "40" ? "add" : "delete"](name);
      if (kind === "40") page.world.serve(`40${name},{}`);
    }
  };
  const show = (first) => {
    page.world.elements.splice(0, Infinity, ...items.slice(first, first + 20));
    page.world.changed();
    serve();
  };
  for (let step = 0; step < 1200; step += 1) {
    show(step * 6);
    page.world.pass(100);
    left = Math.min(CHANGES_BURST, left + CHANGES_PER_SECOND / 10);
    if (step % 100 === 0) page.world.serve("2");
    serve();
  }
  assert.equal(page.world.sockets.length, 1);
  assert.ok(sent > 1500, `it uses what it may: ${sent}`);
  // When the visitor stops, what is in sight is shown soon.
  for (let step = 0; step < 50; step += 1) {
    page.world.pass(100);
    left = Math.min(CHANGES_BURST, left + CHANGES_PER_SECOND / 10);
    serve();
  }
  const inSight = page.world.elements.map(({ dataset }) => dataset.headcount);
  assert.deepEqual([...isIn].sort(), inSight.sort());
});

test("a name that no room can have is refused here, and the server is not asked", () => {
  const longest = `/${"x".repeat(127)}`;
  const elements = [longest, `${longest}x`, `/${"ก".repeat(43)}`].map((headcount) => element({ headcount }));
  elements.push(element({ headcount: "" }));
  const page = loadOpen(elements);
  assert.deepEqual(page.sent(), [`40${longest},`, "40"]);
  page.world.serve(`40${longest},{}`, "40{}", '42["user count",3]');
  const states = ["live", "refused", "refused", "live"];
  assert.deepEqual(elements.map(({ dataset }) => dataset.headcountState), states);
  assert.deepEqual(page.world.warnings, [1, 2].map((at) => `headcount: ${elements[at].dataset.headcount} room_not_allowed`));
  // Code without a name gets no room either, and alone it opens nothing.
  const other = load();
  const heard = [];
  for (const name of [undefined, null, `/${"x".repeat(200)}`]) {
    other.window.headcount.room(name).on("state", (...told) => heard.push(told.join())).leave();
  }
  assert.deepEqual(heard, Array(3).fill("refused,room_not_allowed"));
  other.world.pass(60000);
  assert.equal(other.world.sockets.length, 0);
});

test("half a character is replaced, as the network would", () => {
  const page = loadOpen([element({ headcount: "/smile-\ud83d" }), element({ headcount: "/smile-\ud83d\ude00" })]);
  assert.deepEqual(page.sent(), ["40/smile-\ufffd,", "40/smile-\ud83d\ude00,"]);
  page.world.serve("40/smile-\ufffd,{}", '42/smile-\ufffd,["user count",2]');
  assert.equal(page.world.elements[0].textContent, "2");
  assert.equal(page.world.sockets.length, 1);
});
