"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const chosen = {};
  let plotly = null;
  let palette = {}; // asking for a colour makes the browser lay the page out anew
  let shown = data.steps.length - 1;

  // ---- Light and dark ----------------------------------------------------------------------------------------------------
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme === "auto" ? system.matches : root.dataset.theme === "dark");
  const remember = (value) => { try { localStorage.setItem("genz-theme", value); } catch { /* a page from a file may have no memory */ } };
  const recall = () => { try { return localStorage.getItem("genz-theme"); } catch { return null; } };
  function themed() {
    palette = {};
    byId("theme").textContent = isDark() ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", isDark() ? "Show in light colours" : "Show in dark colours");
    byId("theme").setAttribute("aria-pressed", String(isDark()));
    drawAll();
  }
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    themed();
  });
  system.addEventListener("change", themed);

  // ---- Charts ------------------------------------------------------------------------------------------------------------
  const colour = (name) => (palette[name] ??= getComputedStyle(root).getPropertyValue(`--${name}`).trim());
  function coloured(value) {
    if (typeof value === "string") return value.startsWith("@@") ? colour(value.slice(2)) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
    }
    return value;
  }
  const narrow = () => innerWidth < 640;
  function axis(own) {
    const common = { gridcolor: colour("grid"), zerolinecolor: colour("soft"), linecolor: colour("rule"), automargin: true };
    const title = own.title && { ...own.title, font: { size: 13, color: colour("muted") }, standoff: 8 };
    return { ...common, tickfont: { size: narrow() ? 11 : 12 }, fixedrange: true, zeroline: false, ...own, title };
  }
  function layoutOf(chart, option) {
    const own = coloured({ ...chart.layout, ...((option && option.layout) || {}) });
    for (const [name, more] of Object.entries((option && option.layout) || {})) {
      own[name] = { ...coloured(chart.layout[name] || {}), ...coloured(more) };
    }
    const layout = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
      margin: { l: 48, r: 12, t: 12, b: 44 },
      showlegend: false, // the page writes its own: plotly's takes half the height of a phone
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("rule"), font: { color: colour("ink"), size: 12 }, align: "left" },
      ...own,
    };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) if (own[name] || name !== "yaxis2") layout[name] = axis(own[name] || {});
    return layout;
  }
  const config = { displayModeBar: false, responsive: true };
  const dashes = { dot: "2 3", dash: "6 4" };
  const shapes = { "triangle-up": "M11 2 16 12H6Z", "triangle-down": "M11 12 16 2H6Z" };
  function swatch(trace) {
    const ink = (trace.line || trace.marker).color, mark = trace.marker || {};
    const dash = dashes[(trace.line || {}).dash] || "none";
    let drawing = `<path d="M1 7H21" stroke="${ink}" stroke-width="2.5" stroke-dasharray="${dash}"/>`;
    if (trace.type === "bar" || trace.yaxis) drawing = `<path d="M3 2H19V12H3Z" fill="${trace.type === "bar" ? ink : trace.fillcolor}"/>`;
    else if (shapes[mark.symbol]) drawing = `<path d="${shapes[mark.symbol]}" fill="${ink}"/>`;
    else if (trace.mode === "markers") drawing = `<circle cx="11" cy="7" r="4" stroke="${ink}" stroke-width="1.5" fill="${mark.symbol === "circle-open" ? "none" : ink}"/>`;
    return `<svg viewBox="0 0 22 14" width="22" height="14" fill="none">${drawing}</svg>`;
  }
  function legend(place, traces) {
    const named = traces.length > 1 ? traces.filter((trace) => trace.name) : [];
    let list = place.previousElementSibling;
    if (!list || !list.classList.contains("legend")) {
      list = document.createElement("ul");
      list.className = "legend";
      list.setAttribute("aria-hidden", "true");
      place.before(list);
    }
    list.replaceChildren(...named.map((trace) => {
      const entry = document.createElement("li");
      entry.innerHTML = swatch(trace); // colours of this page only
      entry.append(trace.name);
      return entry;
    }));
  }
  function draw(name) {
    const chart = data.charts[name], place = byId(`chart-${name}`);
    if (!plotly || !chart || !place) return;
    place.replaceChildren(...[...place.children].filter((child) => !child.classList.contains("waiting")));
    if (name === "curve") return drawCurve(chart, place);
    const option = chart.options ? chart.options[chosen[name] || 0] : null;
    const traces = coloured(option ? option.traces : chart.traces);
    legend(place, traces);
    plotly.react(place, traces, layoutOf(chart, option), config);
  }
  const drawAll = () => Object.keys(data.charts).forEach(draw);
  for (const select of document.querySelectorAll("select[data-chart]")) {
    select.addEventListener("change", () => { chosen[select.dataset.chart] = Number(select.value); draw(select.dataset.chart); });
  }

  // ---- The learning curve, step by step --------------------------------------------------------------------------------------
  function drawCurve(chart, place) {
    const whole = shown === data.steps.length - 1;
    legend(place, coloured(chart.traces));
    const traces = coloured(chart.traces).map((trace) => {
      const flat = trace.name.startsWith("baseline");
      if (whole || flat) return trace;
      const kept = trace.x.map((x, i) => i).filter((i) => trace.x[i] <= shown);
      const cut = { ...trace };
      for (const key of ["x", "y", "text"]) if (Array.isArray(trace[key])) cut[key] = kept.map((i) => trace[key][i]);
      return cut;
    });
    const ghosts = whole ? [] : coloured(chart.traces).filter((trace) => trace.mode === "lines" && !trace.fill)
      .map((trace) => ({ ...trace, opacity: 0.22, showlegend: false, hoverinfo: "skip", hovertemplate: null }));
    const layout = layoutOf(chart, null);
    layout.xaxis.range = [-0.3, data.steps.length - 0.7];
    layout.margin.r = 44;
    layout.shapes = whole ? [] : [{ type: "line", x0: shown, x1: shown, yref: "paper", y0: 0, y1: 1, line: { color: colour("muted"), width: 1 } }];
    plotly.react(place, [...ghosts, ...traces], layout, config);
  }
  const line = (text, kind, spoken) => {
    const entry = document.createElement("li"), words = document.createElement("bdi");
    words.dir = "auto";
    words.textContent = data.texts[text];
    if (kind) {
      const said = document.createElement("span");
      entry.className = kind;
      said.className = "unseen";
      said.textContent = spoken;
      entry.append(said);
    }
    entry.append(words);
    return entry;
  };
  function showStep(position, redraw = true) {
    if (!byId("step")) return; // a page without a curve to play
    shown = Math.max(0, Math.min(data.steps.length - 1, position));
    const step = data.steps[shown], added = new Set(step.added);
    byId("step").value = String(shown);
    byId("step-label").textContent = String(shown);
    byId("step").setAttribute("aria-valuetext", `change ${shown}, ${step.words}`);
    byId("step-words").textContent = step.words;
    byId("step-list").replaceChildren(
      ...step.active.map((text) => (added.has(text) ? line(text, "added", "added: ") : line(text))),
      ...step.removed.map((text) => line(text, "removed", "removed: ")),
    );
    if (redraw) draw("curve");
  }
  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    byId("play").setAttribute("aria-pressed", "false");
    byId("play").innerHTML = '<span aria-hidden="true">▶</span> Play';
  }
  byId("play")?.addEventListener("click", () => {
    if (timer) return stop();
    if (shown === data.steps.length - 1) showStep(0);
    byId("play").setAttribute("aria-pressed", "true");
    byId("play").innerHTML = '<span aria-hidden="true">❚❚</span> Pause';
    timer = setInterval(() => (shown < data.steps.length - 1 ? showStep(shown + 1) : stop()), 700);
  });
  byId("step")?.addEventListener("input", (event) => { stop(); showStep(Number(event.target.value)); });

  // ---- Sortable table --------------------------------------------------------------------------------------------------------
  for (const table of document.querySelectorAll("table.features")) {
    const headings = [...table.querySelectorAll("th")], body = table.tBodies[0];
    for (const row of body.rows) [...row.cells].forEach((cell, i) => { if (i > 1) cell.dataset.label = headings[i].textContent; });
    headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
      const numeric = heading.dataset.sort === "number";
      const before = heading.getAttribute("aria-sort");
      const up = before ? before === "descending" : !numeric || column === 0;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => (numeric ? Number(row.cells[column].dataset.value) : row.cells[column].textContent);
      const order = (a, b) => (numeric ? (value(a) || 0) - (value(b) || 0) : value(a).localeCompare(value(b)));
      body.append(...[...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a))));
    }));
  }

  // ---- plotly.js, which the page holds compressed ------------------------------------------------------------------------------
  async function unpacked() {
    const packed = atob(byId("plotly-source").textContent.trim()), bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i += 1) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }
  async function start() {
    const theme = recall();
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.has("theme")) root.dataset.theme = asked.get("theme");
    showStep(asked.has("step") ? Number(asked.get("step")) || 0 : data.steps.length - 1, false);
    themed();
    try {
      const script = document.createElement("script");
      script.textContent = await unpacked();
      document.head.append(script);
      plotly = window.Plotly;
    } catch (error) {
      for (const place of document.querySelectorAll(".waiting")) {
        place.textContent = "This browser cannot draw the chart; its numbers are in the table below.";
      }
      console.error(error);
      return;
    }
    for (const name of Object.keys(data.charts)) {
      draw(name);
      await new Promise((next) => setTimeout(next)); // the page stays responsive while it is drawn
    }
    root.dataset.ready = String(Math.round(performance.now())); // milliseconds from the start
  }
  addEventListener("hashchange", () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.has("step")) showStep(Number(asked.get("step")) || 0);
  });
  start();
})();
