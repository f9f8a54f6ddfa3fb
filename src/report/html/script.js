// Niceties only: values under the pointer, zoom by dragging, buttons and keys, and a copy button. The report is complete without this.
(() => {
  const $ = (id) => document.getElementById(id);
  const copy = $("copy"), command = $("command");
  if (copy && command && navigator.clipboard) {
    copy.hidden = false;
    copy.onclick = () => navigator.clipboard.writeText(command.textContent).then(() => { copy.textContent = "copied"; const said = $("said"); if (said) said.textContent = "The command is copied"; });
  }
  // Paper shows what is folded, also where the style sheet alone cannot.
  let folded = [];
  addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; for (const one of folded) one.open = true; });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
  // What is wider than the window can be reached and moved by keys, in browsers that do not see to it themselves.
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll:not(#plots)")) {
      const caption = box.querySelector("caption");
      if (box.scrollWidth <= box.clientWidth) { box.removeAttribute("tabindex"); continue; }
      box.tabIndex = 0; box.setAttribute("role", "group");
      if (!box.hasAttribute("aria-label")) box.setAttribute("aria-label", caption ? caption.textContent : "A wide picture");
    }
  };
  addEventListener("resize", reach); document.addEventListener("toggle", reach, true); reach();
  const picture = $("timeline"), tip = $("tip"), data = $("series");
  if (!picture || !tip || !data) return;
  const series = JSON.parse(data.textContent);
  const end = +picture.dataset.end, gutter = +picture.dataset.gutter, width = +picture.dataset.plot, bottom = +picture.dataset.bottom;
  const plots = [...picture.querySelectorAll("svg.plot")], labels = [...picture.querySelectorAll(".zt")], ticks = $("xticks"), cursor = $("cursor");
  const around = $("plots"), zooms = $("zoom"), range = $("range"), least = Math.min(end, 0.02);
  $("zoom-help").hidden = zooms.hidden = false;
  let from = 0, to = end, grabbed = null;
  const ns = "http://www.w3.org/2000/svg";
  const make = (name, attributes, text) => {
    const node = document.createElementNS(ns, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const select = make("rect", { class: "select", y: 0, height: bottom, width: 0, x: 0 });
  picture.append(select);

  const show = (t) => { const digits = to - from < 1 ? 3 : to - from < 30 ? 2 : 1; return `${t.toFixed(digits)} s`; };
  // All plots have one axis of time: a wish beyond its ends is moved back inside.
  const zoom = (a, b) => {
    const wanted = Math.min(end, Math.max(least, b - a));
    a = Math.min(end - wanted, Math.max(0, a)); b = a + wanted;
    from = a; to = b;
    range.textContent = wanted < end ? `${show(a)} to ${show(b)}` : "the whole run";
    for (const button of zooms.querySelectorAll("button")) {
      const what = button.dataset.do;
      button.disabled = what === "in" ? wanted <= least : wanted >= end;
    }
    const left = (a / end) * width, span = ((b - a) / end) * width;
    for (const plot of plots) plot.setAttribute("viewBox", `${left} 0 ${span} ${plot.getAttribute("height")}`);
    // Text is not to be stretched, and the name of what began further left stands at the edge.
    const k = span / width;
    for (const label of labels) {
      const near = label.previousElementSibling;
      const box = near && near.localName === "rect" ? near : label.parentNode.querySelector(":scope > rect");
      const x = +label.getAttribute("x"), start = +box.getAttribute("x"), stop = start + +box.getAttribute("width");
      const place = Math.max(start, left) + (x - start) * k;
      label.setAttribute("transform", `translate(${place} 0) scale(${k} 1) translate(${-x} 0)`);
      label.style.display = k < 1 && place > stop - 16 * k ? "none" : "";
    }
    const rough = (b - a) / 12, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
    ticks.replaceChildren();
    for (let t = Math.ceil(a / step) * step; t <= b + 1e-9; t += step) {
      const x = gutter + ((t - a) / (b - a)) * width;
      ticks.append(make("line", { class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
      ticks.append(make("text", { class: "tick", "text-anchor": "middle", x, y: bottom + 17 }, `${+t.toFixed(6)} s`));
    }
  };
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * picture.viewBox.baseVal.width;
    const part = Math.min(1, Math.max(0, (x - gutter) / width));
    return { time: from + part * (to - from), x: gutter + part * width, inside: x >= gutter - 2 && x <= gutter + width + 2, pixel: event.clientX - box.left, box };
  };
  const duration = (us) => us == null ? "–" : us < 1e3 ? `${us} µs` : us < 1e6 ? `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms` : `${(us / 1e6).toFixed(2)} s`;
  const tell = (p) => {
    const i = Math.floor(p.time / series.width);
    cursor.toggleAttribute("hidden", !p.inside);
    tip.hidden = !p.inside;
    if (!p.inside) return;
    for (const [key, value] of [["x1", p.x], ["x2", p.x], ["y1", 0], ["y2", bottom]]) cursor.setAttribute(key, value);
    const lines = [`${p.time.toFixed(1)} s`];
    if (i < series.ok.length) {
      lines.push(`acknowledged ${series.ok[i]}   unknown ${series.info[i]}   failed ${series.fail[i]}`);
      if (series.unseen[i]) lines.push(`acknowledged and unread ${series.unseen[i]}`);
      lines.push(`p50 ${duration(series.p50[i])}   p99 ${duration(series.p99[i])}   max ${duration(series.max[i])}`);
    }
    tip.textContent = lines.join("\n");
    const over = p.pixel > p.box.width - 290;
    tip.style.left = over ? "auto" : `${p.pixel + 14}px`;
    tip.style.right = over ? `${p.box.width - p.pixel + 14}px` : "auto";
  };
  const hush = () => { tip.hidden = true; cursor.toggleAttribute("hidden", true); };
  picture.addEventListener("pointermove", (event) => {
    const p = at(event);
    tell(p);
    if (p.inside && grabbed !== null) { select.setAttribute("x", Math.min(grabbed.x, p.x)); select.setAttribute("width", Math.abs(p.x - grabbed.x)); }
  });
  picture.addEventListener("pointerleave", hush);
  // A finger moves the page.
  picture.addEventListener("pointerdown", (event) => {
    const p = at(event);
    if (p.inside && event.button === 0 && event.pointerType !== "touch") { grabbed = p; event.preventDefault(); }
  });
  addEventListener("pointerup", (event) => {
    if (grabbed === null) return;
    const a = grabbed, b = at(event);
    grabbed = null;
    select.setAttribute("width", 0);
    if (Math.abs(b.x - a.x) > 8) zoom(Math.min(a.time, b.time), Math.max(a.time, b.time));
  });
  picture.addEventListener("dblclick", () => zoom(0, end));

  // By key and by button: around the middle, or a fifth of what is shown to either side.
  const act = {
    in: () => { const quarter = (to - from) / 4; zoom(from + quarter, to - quarter); },
    out: () => { const half = (to - from) / 2; zoom(from - half, to + half); },
    left: () => zoom(from - (to - from) / 5, to - (to - from) / 5),
    right: () => zoom(from + (to - from) / 5, to + (to - from) / 5),
    all: () => zoom(0, end),
  };
  const keys = { "+": "in", "=": "in", "-": "out", "_": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" };
  zooms.addEventListener("click", (event) => { const button = event.target.closest("button"); if (button) act[button.dataset.do](); });
  // The figures of one point of time, as under the pointer: seen, and said.
  let second = null;
  const step = (by) => {
    const first = Math.ceil(from / series.width), last = Math.min(series.ok.length, Math.ceil(to / series.width)) - 1;
    second = Math.max(first, Math.min(last, second === null ? (by > 0 ? first : last) : second + by));
    const box = picture.getBoundingClientRect(), time = (second + 0.5) * series.width, x = gutter + ((time - from) / (to - from)) * width;
    tell({ time, x, inside: second >= 0, pixel: (x / picture.viewBox.baseVal.width) * box.width, box });
    $("said").textContent = tip.textContent.replaceAll("\n", ", ");
  };
  around.addEventListener("keydown", (event) => {
    const what = keys[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey && event.key.startsWith("Arrow")) {
      if (what) { event.preventDefault(); step(what === "left" ? -1 : 1); }
      return;
    }
    // What does nothing here is the page's: to the side of a narrow window.
    if (!what || (to - from >= end && what !== "in")) return;
    event.preventDefault();
    act[what]();
  });
  around.addEventListener("blur", () => { second = null; hush(); });
  around.setAttribute("aria-label", "Timeline; plus and minus zoom, the arrows move, zero shows the whole run, shift with an arrow tells the figures of each second");
  zoom(0, end);

  // From a finding to its moment.
  for (const example of document.querySelectorAll(".example[data-at]")) {
    const at = +example.dataset.at, button = document.createElement("button");
    button.type = "button"; button.className = "jump"; button.textContent = `show ${at} s in the timeline`;
    button.onclick = () => {
      const reach = Math.min(end, Math.max(4, end / 20)) / 2;
      zoom(at - reach, at + reach);
      around.scrollIntoView({ block: "nearest" }); around.focus({ preventScroll: true });
    };
    example.append(button);
  }
})();
