/* What pages do beyond links and forms: look again while something moves, tick, copy, answer a click. */
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const $ = (id) => document.getElementById(id);
  const GAP = "\u00a0";

  /* Moments that tick: 22 s ago, 12 s */
  const passed = (s) => s >= 86400 ? `${Math.floor(s / 86400)}${GAP}day${s >= 172800 ? "s" : ""} ago`
    : s >= 3600 ? `${Math.floor(s / 3600)}${GAP}h ago` : s >= 60 ? `${Math.floor(s / 60)}${GAP}min ago` : `${s}${GAP}s ago`;
  const coming = (s) => s < 120 ? `${s}${GAP}s` : s < 7200 ? `${Math.ceil(s / 60)}${GAP}min` : `${Math.ceil(s / 3600)}${GAP}h`;
  const tick = () => document.querySelectorAll("time[data-tick]").forEach((time) => {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const text = time.dataset.tick === "ago" ? passed(Math.max(0, Math.floor(seconds))) : coming(Math.max(0, Math.ceil(-seconds)));
    if (time.textContent !== text) time.textContent = text;
  });

  /* Toasts */
  const toast = ({ sentence, link, word }, box = document.createElement("div")) => {
    const line = document.createElement("span");
    line.textContent = sentence;
    box.className = "toast";
    box.replaceChildren(line);
    if (link) {
      const a = document.createElement("a");
      a.href = link; a.textContent = word;
      box.append(a);
    }
    $("toasts").replaceChildren(box);
    let timer;
    const leave = () => { timer = setTimeout(() => box.remove(), 6000); };
    const stay = () => clearTimeout(timer);
    for (const [on, off] of [["mouseenter", "mouseleave"], ["focusin", "focusout"]]) {
      box.addEventListener(on, stay); box.addEventListener(off, leave);
    }
    leave();
  };

  /* Buttons keep their width and say what they are doing */
  const busy = (button) => {
    if (!button || !button.dataset.busy) return;
    const label = button.querySelector("span") || button;
    button.style.width = `${button.offsetWidth}px`;
    button.dataset.was = label.textContent;
    label.textContent = button.dataset.busy;
    button.disabled = true;
  };
  const ready = (button) => {
    if (!button || !button.dataset.was) return;
    (button.querySelector("span") || button).textContent = button.dataset.was;
    button.disabled = false; button.style.width = ""; delete button.dataset.was;
  };
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.hasAttribute("hx-post")) setTimeout(() => busy(form.querySelector("button[data-busy]")), 0);
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches("form")) busy(event.target.querySelector("button[data-busy]"));
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.target.matches("form")) return;
    ready(event.target.querySelector("button[data-busy]"));
    if (event.detail.failed) toast({ sentence: "That didn’t reach the server. Nothing was done; try again." });
    event.target.closest("details.sure")?.removeAttribute("open");
    document.activeElement?.blur?.();
    live.soon(true);
  });
  document.addEventListener("toast", (event) => toast(event.detail));

  /* Live parts: ask for the same page, put in what changed, leave alone what is in use */
  const same = (element) => element.outerHTML.replace(/(<time[^>]*data-tick[^>]*>)[^<]*/g, "$1")
    .replace(/(name="csrfmiddlewaretoken" value=")[^"]*/g, "$1");
  const inUse = (element) => {
    const selection = getSelection();
    return element.contains(document.activeElement) || element.querySelector("details[open], [data-was]")
      || (!selection.isCollapsed && selection.containsNode(element, true));
  };
  const shrank = (old, fresh) => {
    const [a, b] = [old, fresh].map((e) => Number(e.querySelector("[data-grows]")?.dataset.grows));
    return b < a;
  };
  const put = (old, fresh) => {
    if (same(old) === same(fresh) || inUse(old)) return;
    if (shrank(old, fresh)) fresh.querySelector("[data-grows]").replaceWith(old.querySelector("[data-grows]"));
    old.replaceWith(fresh);
    if (window.htmx) htmx.process(fresh);
  };
  let held = null;
  const putRows = (old, fresh) => {
    const away = old.tagName === "TBODY" && old.getBoundingClientRect().top < 0;
    const known = new Set([...old.children].map((row) => row.id));
    const news = [...fresh.children].filter((row) => !known.has(row.id));
    for (const row of [...fresh.children]) if (known.has(row.id)) put($(row.id), row.cloneNode(true));
    const more = $("more-calls");
    if (away && news.length && more) {
      held = fresh;
      more.textContent = `${news.length} new call${news.length > 1 ? "s" : ""}`;
      more.hidden = false;
      return;
    }
    if (more) more.hidden = true;
    const wanted = new Set([...fresh.children].map((row) => row.id));
    for (const row of [...old.children]) if (!wanted.has(row.id) && !inUse(row)) row.remove();
    let after = null;
    for (const row of [...fresh.children]) {
      const here = $(row.id) || row;
      if (!known.has(row.id)) after ? after.after(here) : old.prepend(here);
      after = here;
    }
  };

  const live = (() => {
    const main = $("main");
    const state = { pace: Number(main?.dataset.pace || 0), timer: 0, shown: "", failed: 0, paused: false, last: Date.now(), said: 0 };
    const text = $("live-text"), dot = $("live-dot"), pause = $("live-pause");
    const tell = () => {
      if (!text) return;
      const s = Math.floor((Date.now() - state.last) / 1000);
      const words = state.paused ? "Paused" : state.failed >= 3 ? "Not updating, trying again"
        : !state.pace ? "Finished" : `Live, ${s}${GAP}s ago`;
      if (text.textContent !== words) text.textContent = words;
      dot.classList.toggle("still", state.paused || state.failed >= 3 || !state.pace);
      if (pause) pause.hidden = !state.pace;
    };
    const say = (element) => {
      const words = element.dataset.say;
      if (!words || Date.now() - state.said < 10000 || state.words === words) return;
      state.said = Date.now(); state.words = words;
      $("said").textContent = words;
    };
    const take = (request) => {
      if (request.status !== 204 && request.status !== 200) throw new Error(request.status);
      state.shown = request.getResponseHeader("X-Live") || "";
      if (!state.shown) throw new Error("not a live page");
      state.pace = Number(request.getResponseHeader("X-Live-Pace"));
      state.failed = 0; state.last = Date.now();
      if (request.status === 204) return;
      const fresh = new DOMParser().parseFromString(request.responseText, "text/html");
      const parts = [...fresh.querySelectorAll("[data-live]")];
      if (parts.some((part) => !$(part.id) || $(part.id).tagName !== part.tagName)) { location.reload(); return; }
      for (const part of parts) {
        say(part);
        if (part.dataset.live === "rows") putRows($(part.id), part); else put($(part.id), part);
      }
      if (parts.some((part) => part.dataset.live !== "rows" && same($(part.id)) !== same(part))) state.shown = "";
      tick();
    };
    const look = () => {
      if (state.paused || document.hidden) { schedule(); return; }
      htmx.ajax("GET", location.href, {
        source: main, swap: "none", headers: { "X-Live": state.shown },
        handler: (_, info) => { try { take(info.xhr); } catch { state.failed += 1; } },
      }).catch(() => { state.failed += 1; }).finally(() => { tell(); schedule(); });
    };
    const schedule = (ms) => {
      clearTimeout(state.timer);
      if (state.pace || ms !== undefined) state.timer = setTimeout(look, ms ?? state.pace * 1000);
    };
    for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
      main?.addEventListener(name, (event) => { if (event.target === main) state.failed += 1; });
    }
    document.addEventListener("visibilitychange", () => { if (!document.hidden && state.pace) schedule(0); });
    pause?.addEventListener("click", () => {
      state.paused = !state.paused;
      pause.textContent = state.paused ? "Go on" : "Pause";
      tell();
      if (!state.paused) schedule(0);
    });
    $("more-calls")?.addEventListener("click", () => {
      window.scrollTo(0, 0);
      if (held) putRows($("rows"), held);
      held = null;
    });
    if (state.pace) schedule();
    tell();
    return { tell, soon: (always) => { if (main?.dataset.pace && (always || state.pace)) schedule(0); } };
  })();
  setInterval(() => { tick(); live.tell(); }, 1000);

  /* Copy, and show a secret */
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const label = copy.querySelector("span");
      try { await navigator.clipboard.writeText($(copy.dataset.copy).textContent); } catch { label.textContent = "Select and copy by hand"; return; }
      label.textContent = "Copied"; $("said").textContent = "Copied";
      setTimeout(() => { label.textContent = "Copy"; }, 2000);
    }
    const reveal = event.target.closest("[data-reveal]");
    if (reveal) {
      const secret = $(reveal.dataset.reveal), shown = reveal.getAttribute("aria-pressed") === "true";
      if (!secret.dataset.masked) secret.dataset.masked = secret.textContent;
      secret.textContent = shown ? secret.dataset.masked : secret.dataset.secret;
      reveal.setAttribute("aria-pressed", String(!shown));
      reveal.textContent = shown ? "Show secret" : "Hide secret";
    }
  });

  /* Filters apply at once; a toast that came with the page behaves like any other */
  document.querySelector("[data-filters]")?.addEventListener("change", (event) => {
    if (event.target.matches("select")) event.currentTarget.requestSubmit();
  });
  document.querySelector("[data-filters]")?.addEventListener("submit", (event) => {
    for (const field of event.currentTarget.querySelectorAll("[name]")) field.disabled = field.value === "";
  });
  const given = document.querySelector("[data-toast]");
  if (given) toast(JSON.parse(given.dataset.toast), given);
  document.querySelector("[autofocus]")?.focus();
})();
