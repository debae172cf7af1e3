'use strict';
/* What every page shares: values that arrive on the bus, the staleness watchdog, theme, dialogs, copying. No framework: the server
   renders each value into the first response with a key, and the bus carries the keys that changed. */
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const root = document.documentElement, T = window.ballastTheme;
  const WARN_MS = 3000, GREY_MS = 8000, NARROW = '(max-width: 1180px)';
  const B = window.ballast = { $, $$, narrow: () => matchMedia(NARROW).matches, on: {}, stats: { updates: 0, apply_ms: [], latency_ms: [], ready_ms: 0 } };

  // ---- values by key: text (data-b), state (data-bs), width (data-bw) -------------------------------------------
  const sinks = new Map();
  const sink = (key, write) => sinks.set(key, [...(sinks.get(key) || []), write]);
  const text = (element, value) => {
    const first = element.firstChild;
    if (first && first.nodeType === 3 && !first.nextSibling) { if (first.data !== value) first.data = value; } else element.textContent = value;
  };
  // A list under the keyboard's focus is not replaced: it waits until the focus has left it.
  const markup = (element, html) => {
    if (!element.contains(document.activeElement) || element === document.activeElement) { element.innerHTML = html; return; }
    element.addEventListener('focusout', () => setTimeout(() => markup(element, known[element.dataset.bh])), { once: true });
  };
  B.index = () => {
    sinks.clear();
    $$('[data-b]').forEach(e => sink(e.dataset.b, v => text(e, v)));
    $$('[data-bs]').forEach(e => sink(e.dataset.bs, v => { e.dataset.s = v; }));
    $$('[data-bw]').forEach(e => sink(e.dataset.bw, v => e.style.setProperty('--w', v + '%')));
    $$('[data-bl]').forEach(e => sink(e.dataset.bl, v => e.style.setProperty('--l', v + '%')));
    $$('[data-bh]').forEach(e => sink(e.dataset.bh, v => markup(e, v)));
  };
  const known = {};
  const show = (key, value) => { known[key] = value; if (key === 'mode') root.dataset.mode = value; if (key === 'killed') root.dataset.killed = value; for (const write of sinks.get(key) || []) write(value); };
  B.show = show;
  const shown = key => { const e = $(`[data-b="${key}"]`); return e ? e.textContent : ''; };

  // ---- the bus: one hidden model whose text is JSON ------------------------------------------------------------
  let bus, command, sent = 0, good_ms = 0, reason = '', restore = null;
  B.send = message => { if (command) command.value = JSON.stringify({ ...message, n: ++sent }); };
  const receive = json => {
    if (!json) return;
    const began = performance.now(), message = JSON.parse(json);
    reason = message.why || '';
    good_ms = Date.now() - message.age_ms;
    if (restore && message.age_ms < WARN_MS) { const again = restore; restore = null; for (const key in again) show(key, again[key]); }
    for (const key in message.v || {}) show(key, message.v[key]);
    if (message.banner !== undefined) { said = message.banner; banner(); }
    for (const name in B.on) if (message[name] !== undefined) B.on[name](message[name]);
    B.stats.updates += 1; B.stats.apply_ms.push(performance.now() - began); B.stats.latency_ms.push(Date.now() - message.sent_ms);
    if (B.stats.apply_ms.length > 600) { B.stats.apply_ms.shift(); B.stats.latency_ms.shift(); }
    watch();
  };
  const connect = () => {
    const documents = window.Bokeh && window.Bokeh.documents, model = documents && documents.length && documents[0].get_model_by_name('ballast_bus');
    if (!model) return void setTimeout(connect, 20);
    bus = model; command = documents[0].get_model_by_name('ballast_command');
    bus.properties.text.change.connect(() => receive(bus.text));
    B.stats.ready_ms = performance.now(); good_ms = Math.max(good_ms, Date.now() - Number(root.dataset.age));
    receive(bus.text);
    if (B.ready) B.ready();
  };

  // ---- staleness: a warning after 3 s, grey at 8 s, whichever link broke ---------------------------------------
  const TRADING = 'The runtime may still be trading. If Halt fails here, use a terminal:';
  const KILLED = 'The kill switch was on; the runtime may still manage exits. ';
  let said = null;
  const banner = () => {
    const box = $('#banner'), stale = root.dataset.stale === '2';
    const text = stale ? { tone: 'warn', head: '▲ Not connected', body: (reason || 'The dashboard server does not answer.') + ' Values below are stale and greyed. ' + (root.dataset.killed !== '1' ? TRADING : reason ? KILLED + 'To end it, use a terminal:' : KILLED + 'If Release fails here, use a terminal:'), command: reason ? root.dataset.stop : root.dataset.killed === '1' ? root.dataset.release : root.dataset.kill } : said;
    box.hidden = !text;
    if (!text) return;
    const signature = JSON.stringify(text);
    if (box.dataset.signature === signature) return;
    box.dataset.signature = signature; box.dataset.tone = text.tone;
    const head = document.createElement('b'), body = document.createElement('span');
    head.textContent = text.head; body.textContent = text.body + ' ';
    if (text.command) { const code = document.createElement('code'); code.textContent = text.command; body.append(code); }
    box.replaceChildren(head, body);
  };
  const watch = () => {
    if (!good_ms) return;
    const age_ms = Date.now() - good_ms, level = age_ms > GREY_MS ? '2' : age_ms > WARN_MS ? '1' : '0';
    if (level !== '0') {
      restore = restore || { 'health': known.health || shown('health'), 'health.s': known['health.s'] || $('#health').dataset.s, 'hb': known.hb || shown('hb') };
      $$('[data-b="hb"]').forEach(e => text(e, Math.round(age_ms / 1000) + ' s'));
      $('#health').dataset.s = 'late'; text($('#health b'), 'No update');
    } else if (restore) { const again = restore; restore = null; for (const key in again) show(key, again[key]); }
    if (root.dataset.stale !== level) { root.dataset.stale = level; banner(); if (level === '2') $('#live').textContent = 'Not connected. Values are stale.'; } else if (level === '2') banner();
  };
  setInterval(watch, 500);

  // ---- theme: marks on a canvas are repainted, the server changes their colours --------------------------------
  const repaint = () => {
    const walk = view => { if (view.repaint && view.model && view.model.type === 'Figure') view.repaint(); for (const child of view.child_views || []) walk(child); };
    const index = window.Bokeh && window.Bokeh.index;
    if (index) for (const view of index.roots || Object.values(index)) walk(view);
  };
  const theme_is = (theme, kept) => { root.dataset.theme = theme; T.keep(kept); B.send({ theme }); repaint(); };
  const retheme = () => { const theme = root.dataset.theme === 'dark' ? 'light' : 'dark'; theme_is(theme, theme); };
  T.onSystem(() => { if (!T.chosen()) theme_is(T.ofSystem(), 'system-' + T.ofSystem()); });

  // ---- dialogs: a native <dialog> around a plain form; the script only saves the page a reload ------------------
  // Browsers that know `commandfor` need no script for this; the input with autofocus gets the focus in all of them.
  const native = 'commandForElement' in HTMLButtonElement.prototype;
  const open = (button, dialog) => { if (!native) button.addEventListener('click', () => dialog.showModal()); };
  const submit = async event => {
    const form = event.target, button = $('[type=submit]', form), label = button.textContent;
    if (!form.dataset.background) return;
    event.preventDefault();
    button.disabled = true; button.textContent = form.dataset.busy;
    try {
      const answer = await fetch(form.action, { method: 'POST', headers: { 'Accept': 'application/json' }, body: new URLSearchParams(new FormData(form)) });
      const receipt = await answer.json();
      if (!answer.ok) throw new Error(receipt.message);
      form.closest('dialog').close(); form.reset(); $('.failed', form).hidden = true; $('[data-key]', form).value = receipt.key;
      for (const key in receipt.v || {}) show(key, receipt.v[key]);
      said = receipt.banner; banner(); $('#live').textContent = receipt.message;
    } catch (error) {
      const note = $('.failed', form); note.hidden = false;
      note.textContent = 'Not confirmed: ' + (error.message || 'no answer') + '. In a terminal: ' + (form.dataset.release ? root.dataset.release : root.dataset.kill);
    }
    button.disabled = false; button.textContent = label;
  };
  const copy = async button => {
    try { await navigator.clipboard.writeText(button.dataset.copy); } catch (_) {
      const area = document.createElement('textarea');
      area.value = button.dataset.copy; document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
    }
    button.textContent = '✓ Copied'; $('#live').textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1400);
  };

  // es-module-shims fires DOMContentLoaded a second time.
  document.addEventListener('DOMContentLoaded', () => {
    B.index();
    const first = $('#said'); said = first ? JSON.parse(first.textContent) : null;
    good_ms = Date.now() - Number(root.dataset.age);
    $('#theme').addEventListener('click', retheme);
    open($('#halt'), $('#haltdlg')); open($('#release'), $('#releasedlg'));
    if (!native) $$('[data-close]').forEach(b => b.addEventListener('click', () => b.closest('dialog').close()));
    document.addEventListener('submit', submit);
    document.addEventListener('click', e => { const button = e.target.closest('[data-copy]'); if (button) copy(button); });
    if (B.page) B.page();
    connect();
  }, { once: true });
})();
