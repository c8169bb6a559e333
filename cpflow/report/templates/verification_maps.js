// Heat maps and the focal plane. A cell is [margin, rank, rows, open rows].
const RANKS = ["passes", "informational: beyond its limit", "waived", "no data", "fails"];

function mixed(a, b, t) {
  return `rgb(${a.map((v, k) => Math.round(v + (b[k] - v) * t)).join(",")})`;
}

function colour(margin, rank) {
  if (rank === 3) return null;
  if (margin === null) return "#eef1f3";
  if (rank === 4) return mixed([236, 120, 60], [140, 26, 4], Math.min(1, -margin));
  if (margin < 0) return "#ffe2a8";
  return mixed([255, 243, 190], [214, 238, 229], Math.min(1, margin / 0.6));
}

function worse(cell, margin, rank, open) {
  cell[2] += 1;
  cell[3] += open;
  const m = margin === null ? -Infinity : margin;
  const known = cell[0] === null ? -Infinity : cell[0];
  if (rank > cell[1] || (rank === cell[1] && m < known)) { cell[0] = margin; cell[1] = rank; }
}

function gather(key, wanted = () => true) {
  const found = new Map();
  for (const i of scopedRows()) {
    if (testName(rows.s[i]) === "" || !wanted(i)) continue;
    const [a, b] = key(i);
    if (a === null || b === null) continue;
    const name = `${a} ${b}`;
    if (!found.has(name)) found.set(name, [rows.m[i], -1, 0, 0]);
    worse(found.get(name), rows.m[i], rankOf(i), isOpen(i) ? 1 : 0);
  }
  return found;
}

// The same from cells that were made for all detectors, where the page has not all rows.
function regather(cells, key, wanted) {
  const found = new Map();
  for (const [u, one, s, margin, rank, n, open] of cells) {
    if (!inScope(u) || !wanted(one, s)) continue;
    const name = key(u, one, s).join(" ");
    if (!found.has(name)) found.set(name, [margin, -1, 0, 0]);
    const cell = found.get(name);
    worse(cell, margin, rank, open);
    cell[2] += n - 1;
  }
  return found;
}

function heat(box, across, down, cells, { text, dense, corner, onClick }) {
  const head = make("tr", {}, make("th", { class: "text" }, corner || ""), ...across.map(([, name, title]) => make("th", { scope: "col", title }, make("span", {}, name))));
  const body = down.map(([b, name, title]) => make("tr", {}, make("th", { class: "text", scope: "row", title }, name), ...across.map(([a, other]) => {
    const cell = cells.get(`${a} ${b}`);
    if (!cell) return make("td", { class: "nothing" });
    const [margin, rank, n, open] = cell;
    const says = `${other}, ${name}: ${RANKS[rank]}, margin ${shown(margin, 3) || "unknown"}, ${n} rows` + (open ? `, ${open} open` : "");
    const label = rank === 4 ? (text ? shown(margin, 2) : "✕") : rank === 3 ? "?" : text && margin !== null ? shown(margin, 2) : rank === 2 ? "w" : "";
    return make("td", { class: `r${rank}`, style: colour(margin, rank) && `background-color:${colour(margin, rank)}`, title: says, tabindex: 0, role: "button", "aria-label": says, "data-a": a, "data-b": b }, label);
  })));
  const table = make("table", { class: dense ? "heat dense" : "heat" }, make("thead", {}, head), make("tbody", {}, ...body));
  const go = (event) => {
    const cell = event.target.closest("td[data-a]");
    if (cell && (event.type === "click" || event.key === "Enter")) onClick(cell.dataset.a, cell.dataset.b);
  };
  table.addEventListener("click", go);
  table.addEventListener("keydown", go);
  box.replaceChildren(table);
}

// Rows of a test; of none in particular: of all that can fail the product.
const chosen = (test) => (i, s) => (test === "" ? (i === null ? data.required[s] : rows.y[i] === REQUIRED) : testName(s) === test);

function testsInScope() {
  const names = new Set();
  if (data.complete) for (const i of scopedRows()) names.add(testName(rows.s[i]));
  else for (const [u, , s] of data.cells.amp) if (inScope(u)) names.add(testName(s));
  names.delete("");
  const listed = new Set(data.specs.map((spec) => spec[1]));
  return [...listed].filter((name) => names.has(name));
}

const unitName = (u) => {
  const unit = data.units[u];
  const parts = [several("product") && scope.product === "" ? unit.product : "", unit.detector === null ? "" : unit.name || String(unit.detector), several("filter") && scope.filter === "" ? unit.filter : ""];
  return parts.filter(Boolean).join(" ") || unit.product;
};

function amplifiersOf(u) {
  const used = new Set();
  for (const i of scopedRows()) if (rows.u[i] === u && testName(rows.s[i]) !== "") used.add(data.amps[rows.a[i]]);
  const listed = data.units[u].amps.filter((name) => used.has(name));
  const others = [...used].filter((name) => name !== "" && !listed.includes(name));
  return [...listed, ...others, ...(used.has("") ? [""] : [])];
}

function drawMaps() {
  const units = unitsInScope();
  const tests = testsInScope();
  byId("maps").hidden = tests.length === 0;
  const single = units.length === 1 && data.complete;
  const box = byId("map-tests");
  if (single) {
    const amps = amplifiersOf(units[0]);
    box.querySelector("figcaption").textContent = "Amplifiers and tests, over all exposures";
    heat(box.querySelector("div"), tests.map((t) => [t, t]), amps.map((a) => [`=${a}`, a || "detector"]),
      gather((i) => [testName(rows.s[i]), `=${data.amps[rows.a[i]]}`]),
      { text: true, onClick: (test, amp) => select({ test, amp }) });
  } else {
    box.querySelector("figcaption").textContent = "Detectors and tests, over all amplifiers and exposures";
    const cells = data.complete ? gather((i) => [testName(rows.s[i]), rows.u[i]])
      : regather(data.cells.amp, (u, a, s) => [testName(s), u], () => true);
    heat(box.querySelector("div"), tests.map((t) => [t, t]), units.map((u) => [String(u), unitName(u)]), cells,
      { text: true, onClick: (test, u) => select({ test, unit: Number(u) }) });
  }
  const exposureTest = byId("exposure-test");
  options(exposureTest, tests, exposureTest.value, "worst required");
  drawExposures();
  const planeTest = byId("plane-test");
  options(planeTest, tests, planeTest.value, "worst required");
  drawPlane();
}

function drawExposures() {
  const box = byId("map-exposures");
  const units = unitsInScope();
  const single = units.length === 1 && data.complete;
  const test = byId("exposure-test").value;
  const wanted = chosen(test);
  const numbers = data.exposures.map((e, k) => [k, e[0]]).filter(([, number]) => number >= 0).sort((a, b) => a[1] - b[1]);
  const inside = new Set(units.flatMap((u) => data.units[u].inside));
  const heading = ([k, number]) => [String(k), `${number}${inside.has(k) ? " ●" : ""}`, inside.has(k) ? "construction" : "independent"];
  let cells, across, onClick;
  if (single) {
    across = amplifiersOf(units[0]).map((a) => [`=${a}`, a || "detector"]);
    cells = gather((i) => [`=${data.amps[rows.a[i]]}`, isRun(i) ? null : rows.e[i]], (i) => wanted(i, rows.s[i]));
    onClick = (amp, e) => select({ amp, test, exposure: exposureName(Number(e)) });
  } else {
    across = units.map((u) => [String(u), unitName(u)]);
    cells = data.complete ? gather((i) => [rows.u[i], isRun(i) ? null : rows.e[i]], (i) => wanted(rows.s[i]))
      : regather(data.cells.exposure, (u, e) => [u, e], (e, s) => wanted(null, s));
    onClick = (u, e) => select({ unit: Number(u), test, exposure: exposureName(Number(e)) });
  }
  const used = new Set([...cells.keys()].map((name) => name.slice(name.lastIndexOf(" ") + 1)));
  const down = numbers.map(heading).filter(([k]) => used.has(k));
  const columns = across.filter(([a]) => down.some(([k]) => cells.has(`${a} ${k}`)));
  box.hidden = down.length === 0;
  box.querySelector("span").textContent = `Exposures and ${single ? "amplifiers" : "detectors"} (● construction)`;
  heat(box.querySelector("div"), columns, down, cells, { dense: true, onClick });
}

// Dark blue, green, yellow: even to the eye, and in grey.
function viridis(t) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const k = Math.min(3, Math.floor(t * 4));
  return mixed(stops[k], stops[k + 1], t * 4 - k);
}

function drawPlane() {
  const box = byId("map-plane");
  box.hidden = plane === null;
  if (plane === null) return;
  const test = byId("plane-test").value;
  const units = unitsInScope();
  byId("plane-what-label").hidden = !data.complete || test === "";
  const byValue = data.complete && test !== "" && byId("plane-what").value === "value";
  const key = (u, a) => [data.units[u].detector, `=${data.amps[a]}`];
  const cells = data.complete
    ? gather((i) => key(rows.u[i], rows.a[i]), (i) => chosen(test)(i, rows.s[i]))
    : regather(data.cells.amp, (u, a) => key(u, a), (a, s) => chosen(test)(null, s));
  const medians = new Map();
  if (byValue) {
    for (const i of scopedRows()) {
      if (testName(rows.s[i]) !== test || rows.x[i] === null) continue;
      const name = key(rows.u[i], rows.a[i]).join(" ");
      medians.set(name, [...(medians.get(name) || []), rows.x[i]]);
    }
    for (const [name, values] of medians) medians.set(name, values.sort((a, b) => a - b)[values.length >> 1]);
  }
  const known = [...medians.values()].filter(Number.isFinite);
  const low = Math.min(...known), high = Math.max(...known);
  const numbers = new Set(units.map((u) => data.units[u].detector));
  const detectors = plane.detectors.filter(([number]) => numbers.has(number));
  if (detectors.length === 0) { box.hidden = true; return; }
  const [x0, x1, y0, y1] = [[2, Math.min], [3, Math.max], [4, Math.min], [5, Math.max]].map(([k, f]) => f(...detectors.map((d) => d[k])));
  const scale = 380 / Math.max(x1 - x0, y1 - y0);
  const place = (l, r, b, t) => ({ x: (l - x0) * scale, y: (y1 - t) * scale, width: (r - l) * scale, height: (t - b) * scale });
  const svg = make("svg", { viewBox: `-2 -2 ${(x1 - x0) * scale + 4} ${(y1 - y0) * scale + (byValue ? 40 : 4)}`, role: "img" });
  for (const [number, amp, ...edges] of plane.amps) {
    if (!numbers.has(number)) continue;
    const cell = cells.get(`${number} =${amp}`);
    const at = place(...edges);
    const value = medians.get(`${number} =${amp}`);
    let fill = cell ? colour(cell[0], cell[1]) || "#cfd5da" : "#fafbfc";
    if (byValue) fill = Number.isFinite(value) ? viridis(high > low ? (value - low) / (high - low) : 0.5) : "#fafbfc";
    const says = `detector ${number} ${amp}: ` + (cell ? `${RANKS[cell[1]]}, margin ${shown(cell[0], 3)}` : "not tested") + (byValue ? `, median ${shown(value ?? null)}` : "");
    const rect = make("rect", { ...at, fill, stroke: cell && cell[1] === 4 ? "#7c1d03" : "#fff", "stroke-width": cell && cell[1] === 4 ? 1.5 : 0.5, style: "cursor:pointer" }, make("title", {}, says));
    rect.addEventListener("click", () => select({ test, amp: `=${amp}`, unit: units.find((u) => data.units[u].detector === number) }));
    svg.append(rect);
    if (detectors.length === 1 && at.height > 11) {
      const light = byValue ? high > low && (value - low) / (high - low) < 0.5 : cell && cell[1] === 4;
      const tall = at.height > 2.5 * at.width;
      const [cx, cy] = [at.x + at.width / 2, at.y + at.height / 2];
      svg.append(make("text", { x: cx, y: cy, "text-anchor": "middle", "dominant-baseline": "central", "font-size": 11, fill: light ? "#fff" : "#3c4750", "pointer-events": "none", transform: tall && at.width < 24 ? `rotate(-90 ${cx} ${cy})` : null }, amp));
    }
  }
  for (const [number, name, ...edges] of detectors) {
    const at = place(...edges);
    svg.append(make("rect", { ...at, fill: "none", stroke: "#3c4750", "stroke-width": 0.8, "pointer-events": "none" }));
    if (detectors.length > 1 && at.width > 26) {
      svg.append(make("text", { x: at.x + at.width / 2, y: at.y + at.height / 2, "text-anchor": "middle", "dominant-baseline": "central", "font-size": 10, "pointer-events": "none", fill: "#1b2126", stroke: "#fff", "stroke-width": 2.5, "paint-order": "stroke" }, name || String(number)));
    }
  }
  if (byValue && known.length) {
    const base = (y1 - y0) * scale + 10;
    for (let k = 0; k < 50; k++) svg.append(make("rect", { x: 60 + k * 5, y: base, width: 5.2, height: 9, fill: viridis(k / 49) }));
    const units_ = (data.specs.find((spec) => spec[1] === test && spec[2] !== "1") || ["", "", ""])[2];
    svg.append(make("text", { x: 56, y: base + 8, "text-anchor": "end", "font-size": 10 }, shown(low, 3)), make("text", { x: 314, y: base + 8, "font-size": 10 }, `${shown(high, 3)} ${units_}`));
  }
  box.classList.toggle("many", detectors.length > 9);
  box.querySelector(".plane").replaceChildren(svg);
}

function drawLegend() {
  const key = (style, text, cls) => [make("span", { class: `key ${cls || ""}`, style }), text];
  byId("legend").append(
    ...key(`background:linear-gradient(90deg,${colour(0, 0)},${colour(1, 0)})`, "passes, 0 to 1"),
    ...key(`background:linear-gradient(90deg,${colour(0, 4)},${colour(-1, 4)})`, "fails, 0 to −1 and below"),
    ...key("background:#ffe2a8", "informational and beyond its limit", "r1"),
    ...key("background:#ffe2a8", "waived", "r2"), ...key("", "no data", "r3"));
}

// Pictures: outlines of what fails, how many are shown, and one in large.
const FIRST = 12;

function outline(frame, exposure, names) {
  const [left, right, bottom, top] = JSON.parse(frame.dataset.extent);
  const svg = make("svg", { viewBox: `0 0 ${right - left} ${top - bottom}`, preserveAspectRatio: "none" });
  const failing = new Set();
  for (let i = 0; i < count; i++) {
    if (rows.v[i] === FAIL && exposureName(rows.e[i]) === exposure) failing.add(`${data.units[rows.u[i]].detector} ${data.amps[rows.a[i]]}`);
  }
  const draw = ([l, r, b, t], stroke) => svg.append(make("rect", { x: l - left, y: top - t, width: r - l, height: t - b, fill: "none", stroke, "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
  const whole = plane.detectors.length > 1;
  if (whole) for (const [, , ...edges] of plane.detectors) svg.append(make("rect", { x: edges[0] - left, y: top - edges[3], width: edges[1] - edges[0], height: edges[3] - edges[2], fill: "none", stroke: "#7b8893", "stroke-width": 0.5, "vector-effect": "non-scaling-stroke" }));
  for (const [number, amp, ...edges] of plane.amps) if (failing.has(`${number} ${amp}`)) draw(edges, "#e8400c");
  for (const [number, , ...edges] of plane.detectors) if (failing.has(`${number} `)) draw(edges, "#e8400c");
  if (names) {
    const size = (top - bottom) / 32;
    for (const [, amp, ...edges] of whole ? plane.detectors : plane.amps) svg.append(make("text", { x: (edges[0] + edges[1]) / 2 - left, y: top - edges[2] - size * 0.7, "text-anchor": "middle", "font-size": size, fill: "#fff", stroke: "#1b2126", "stroke-width": size / 5, "paint-order": "stroke" }, amp));
  }
  frame.append(svg);
}

function showPictures(section, all = section.dataset.all === "1") {
  section.dataset.all = all ? "1" : "";
  section.hidden = (scope.product !== "" && scope.product !== section.dataset.product)
    || (scope.filter !== "" && section.dataset.filter !== "" && scope.filter !== section.dataset.filter);
  const fits = [...section.querySelectorAll(".thumbnail")].filter((figure) => {
    const inside = figure.dataset.construction === "1";
    const wanted = scope.kind === "" || (scope.kind === "construction") === inside;
    figure.hidden = true;
    return wanted;
  });
  fits.forEach((figure, k) => { figure.hidden = !all && k >= FIRST; });
  const more = section.querySelector(".more");
  more.hidden = all || fits.length <= FIRST;
  more.textContent = `show all ${fits.length}`;
}

function enlarge(frame) {
  const exposure = frame.closest(".thumbnail").dataset.exposure;
  const copy = make("div", { class: "frame", "data-extent": frame.dataset.extent, style: frame.getAttribute("style") }, frame.querySelector("img").cloneNode());
  outline(copy, exposure, true);
  const dialog = byId("large");
  dialog.querySelector("div").replaceChildren(copy);
  const failing = [];
  for (let i = 0; i < count; i++) {
    if (rows.v[i] === FAIL && exposureName(rows.e[i]) === exposure) failing.push(`${several("detector") ? `${data.units[rows.u[i]].detector} ` : ""}${data.amps[rows.a[i]]} ${testName(rows.s[i])} ${shown(rows.x[i])}`.trim());
  }
  dialog.querySelector("p").textContent = `Exposure ${exposure}: ` + (failing.length ? `fails ${failing.slice(0, 10).join(", ")}${failing.length > 10 ? ` and ${failing.length - 10} more` : ""}` : "nothing fails");
  dialog.showModal();
}
