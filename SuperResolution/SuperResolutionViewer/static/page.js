// The slice views of the page: they send what the user does to them and draw what comes back.
// One call is under way at a time; what happens meanwhile is added up for the next.
(() => {
  "use strict";

  const stamps = {}; // view -> stamp of the image that its canvas shows
  let actions = [];
  let point = null; // [view, x, y] of the pointer, if it moved
  let wanted = false;
  let calling = false;
  let aspect = 1; // width over height of the image in the views' plane

  // For whoever measures: how many answers were drawn, what the last movement took in milliseconds, whether all is done.
  const measured = { answers: 0, milliseconds: 0, get idle() { return !calling && !wanted && !actions.length && !point; } };
  window.superResolutionPage = measured;

  const root = () => document.getElementById("views");
  const panes = () => [...root().querySelectorAll(".pane")].filter((pane) => pane.offsetWidth && pane.offsetHeight);
  const state = (name) => window.trame.state.get(name);
  const session = () => window.trame?.client?.getConnection?.()?.getSession?.();

  async function exchange() {
    if (calling || !session()) return;
    calling = true;
    try {
      while (wanted || actions.length || point) {
        const began = performance.now();
        const request = { sizes: sizes(), known: { ...stamps }, actions: [...actions, ...(point ? [["point", ...point]] : [])] };
        const drawing = actions.length > 0;
        actions = [];
        point = null;
        wanted = false;
        const answer = await session().call("superresolution.views", [request]);
        for (const frame of answer.frames) draw(frame);
        if (answer.aspect !== aspect) {
          aspect = answer.aspect;
          wanted = true; // the panes may get another size
        }
        for (const pane of panes()) pane.dataset.offset = answer.offsets[pane.dataset.view] ?? "";
        if (answer.point) showPoint(answer.point);
        measured.answers += 1;
        if (drawing) measured.milliseconds = performance.now() - began;
      }
    } catch (error) {
      console.error(error); // a lost connection; trame shows that itself
    } finally {
      calling = false;
    }
  }

  function refresh() {
    wanted = true;
    exchange();
  }

  function sizes() {
    arrange();
    return Object.fromEntries(panes().map((pane) => [pane.dataset.view, [pane.clientWidth, pane.clientHeight]]));
  }

  // As many columns as make the images largest; of equals those that leave the fewest places empty.
  function arrange() {
    const area = root();
    const count = Math.max(panes().length, 1);
    const rows = (columns) => Math.ceil(count / columns);
    const side = (columns) => Math.min(area.clientWidth / columns / aspect, area.clientHeight / rows(columns));
    const empty = (columns) => columns * rows(columns) - count;
    const [best] = [1, 2, 3, 4].filter((n) => n <= count).sort((a, b) => side(b) - side(a) || empty(a) - empty(b));
    area.style.setProperty("--columns", best);
  }

  function draw(frame) {
    const pane = root().querySelector(`.pane[data-view="${frame.view}"]`);
    paint(pane.querySelector("canvas"), frame);
    stamps[frame.view] = frame.stamp;
    pane.dataset.stamp = frame.stamp;
  }

  function paint(canvas, frame) {
    const pixels = bytes(frame.pixels);
    const image = new ImageData(frame.width, frame.height);
    const colors = new Uint32Array(image.data.buffer);
    const opaque = 0xff000000;
    if (frame.channels === 1) {
      for (let n = 0; n < colors.length; n++) colors[n] = opaque | (pixels[n] * 0x010101);
    } else {
      for (let n = 0, m = 0; n < colors.length; n++, m += 3) {
        colors[n] = opaque | pixels[m] | (pixels[m + 1] << 8) | (pixels[m + 2] << 16);
      }
    }
    if (canvas.width !== frame.width) canvas.width = frame.width;
    if (canvas.height !== frame.height) canvas.height = frame.height;
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function bytes(content) {
    return content instanceof ArrayBuffer ? new Uint8Array(content) : content;
  }

  function showPoint(told) {
    const labels = state("labels") || {};
    const place = ["R", "A", "S"].map((name, n) => `${name} ${told.ras[n].toFixed(1)}`).join("  ");
    const values = Object.entries(told.values).map(([view, value]) => `${labels[view] || view}: ${value}`);
    document.getElementById("readout").textContent = [place, ...values].join("   |   ");
    for (const frame of told.lenses) paint(root().querySelector(`canvas[data-lens="${frame.view}"]`), frame);
  }

  // What the user does. Equal actions in a row become one.
  function act(kind, view, ...numbers) {
    const last = actions[actions.length - 1];
    if (last && last[0] === kind && last[1] === view && kind !== "zoom") {
      numbers.forEach((number, n) => (last[n + 2] += number));
    } else if (last && last[0] === kind && last[1] === view && kind === "zoom") {
      last[2] *= numbers[0];
    } else {
      actions.push([kind, view, ...numbers]);
    }
    exchange();
  }

  const paneAt = (event) => event.target.closest?.("#views .pane");

  function placeIn(pane, event) {
    const box = pane.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function look(pane, event) {
    point = [pane.dataset.view, ...placeIn(pane, event)];
    exchange();
  }

  function onWheel(event) {
    const pane = paneAt(event);
    if (!pane) return;
    event.preventDefault();
    const turns = Math.sign(event.deltaY);
    if (!turns) return;
    if (event.ctrlKey || event.metaKey) act("zoom", pane.dataset.view, 1.15 ** -turns, ...placeIn(pane, event));
    else act("scroll", pane.dataset.view, -turns);
  }

  const pressed = new Map(); // id of a pointer -> its last event
  let drag = null;

  function toolOf(event) {
    if (event.button === 2) return "zoom";
    if (event.button === 1 || event.shiftKey) return "pan";
    return state("tool") || "window";
  }

  function onDown(event) {
    if (event.target.closest?.(".divider")) {
      drag = { tool: "divider" };
    } else {
      const pane = paneAt(event);
      if (!pane) return;
      drag = { tool: toolOf(event), pane, start: placeIn(pane, event), rest: 0 };
      root().focus({ preventScroll: true });
    }
    pressed.set(event.pointerId, event);
    event.target.setPointerCapture?.(event.pointerId);
    event.preventDefault();
  }

  function onMove(event) {
    const last = pressed.get(event.pointerId);
    if (!last) {
      const pane = paneAt(event);
      if (pane) look(pane, event);
      return;
    }
    if (drag.tool === "divider") moveDivider(event.clientX);
    else if (pressed.size === 2) pinch(event);
    else if (pressed.size === 1) dragBy(event.clientX - last.clientX, event.clientY - last.clientY);
    pressed.set(event.pointerId, event);
  }

  function onUp(event) {
    pressed.delete(event.pointerId);
    if (!pressed.size) drag = null;
  }

  function dragBy(right, down) {
    const view = drag.pane.dataset.view;
    if (drag.tool === "pan") act("pan", view, right, down);
    if (drag.tool === "window") act("window", view, right, down);
    if (drag.tool === "zoom") act("zoom", view, 1.01 ** down, ...drag.start);
    if (drag.tool === "scroll") {
      drag.rest -= down / 8;
      const steps = Math.trunc(drag.rest);
      if (steps) act("scroll", view, steps);
      drag.rest -= steps;
    }
  }

  // Two fingers: their distance magnifies, their middle moves.
  function pinch(event) {
    const [other] = [...pressed.entries()].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
    const before = pressed.get(event.pointerId);
    const distance = (one, two) => Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY) || 1;
    const view = drag.pane.dataset.view;
    const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
    act("zoom", view, distance(event, other) / distance(before, other), ...placeIn(drag.pane, middle));
    act("pan", view, (event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
  }

  function moveDivider(x) {
    const box = root().getBoundingClientRect();
    const share = Math.min(Math.max((x - box.left) / box.width, 0), 1);
    root().style.setProperty("--divider", `${(100 * share).toFixed(2)}%`);
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, [role=listbox], [role=combobox], .v-overlay, .v-slider")) return;
    const pane = root() && panes()[0];
    if (!pane) return;
    const view = pane.dataset.view;
    const middle = [pane.clientWidth / 2, pane.clientHeight / 2];
    const box = root().getBoundingClientRect();
    const divider = ((parseFloat(root().style.getPropertyValue("--divider")) || 50) / 100) * box.width + box.left;
    const swipes = state("arrangement") === "swipe";
    const keys = {
      ArrowUp: () => act("scroll", view, 1),
      ArrowDown: () => act("scroll", view, -1),
      ArrowRight: () => (swipes ? moveDivider(divider + box.width / 40) : act("scroll", view, 1)),
      ArrowLeft: () => (swipes ? moveDivider(divider - box.width / 40) : act("scroll", view, -1)),
      "+": () => act("zoom", view, 1.25, ...middle),
      "=": () => act("zoom", view, 1.25, ...middle),
      "-": () => act("zoom", view, 0.8, ...middle),
      0: () => window.trame.trigger("fit"),
      " ": () => window.trame.trigger("flicker"),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  function onFile(event) {
    const field = event.target;
    if (!field.matches?.(".file-field") || !field.files.length) return;
    upload(field.dataset.purpose, [...field.files]);
    field.value = ""; // the same file may be chosen again
  }

  function upload(purpose, files) {
    const set = (name, value) => window.trame.state.set(name, value);
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const most = state("most_bytes");
    if (total > most) {
      set("error", `The upload is larger than ${most / 1e6} MB, which 'superres view --max-upload' can change.`);
      return;
    }
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", `upload/${purpose}`);
    request.upload.onprogress = (event) => set("upload_percent", (100 * event.loaded) / event.total);
    request.onloadend = () => {
      set("upload_percent", 0);
      let told = null;
      try {
        told = JSON.parse(request.responseText);
      } catch {
        told = { error: "The upload did not arrive: the connection broke, or it was refused." };
      }
      if (told.error) set("error", told.error);
    };
    request.send(form);
  }

  function begin() {
    if (!root() || !session() || !window.trame?.state) {
      setTimeout(begin, 50);
      return;
    }
    const observer = new ResizeObserver(refresh);
    for (const each of [root(), ...root().querySelectorAll(".pane")]) observer.observe(each);
    window.trame.state.watch(["revision"], refresh); // panes that come or go change their size
    refresh();
  }

  document.addEventListener("wheel", onWheel, { passive: false });
  document.addEventListener("pointerdown", onDown);
  document.addEventListener("pointermove", onMove);
  document.addEventListener("pointerup", onUp);
  document.addEventListener("pointercancel", onUp);
  document.addEventListener("contextmenu", (event) => paneAt(event) && event.preventDefault());
  document.addEventListener("keydown", onKey);
  document.addEventListener("change", onFile);
  begin();
})();
