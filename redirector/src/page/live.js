"use strict";
const link = document.getElementById("link");
const say = (text, ok) => { link.textContent = text; link.className = ok ? "ok" : "lost"; };
// The pages of one farm of several stand below /farms/NAME.
const [root] = location.pathname.match(/^\/farms\/[^/]+/) || [""];
const events = new EventSource(root + "/events?only=page" + location.search.replace("?", "&"));
events.addEventListener("page", (message) => {
  const parts = JSON.parse(message.data);
  const selection = getSelection();
  const selects = selection && !selection.isCollapsed;
  for (const id in parts) {
    const place = document.getElementById(id);
    // What is read, pointed at or reached by keyboard just now must not be pulled away.
    const held = selects || (place && (place.contains(document.activeElement) || place.querySelector(".at:hover, a:hover")));
    if (place && !held && place.innerHTML !== parts[id]) { place.innerHTML = parts[id]; }
  }
  document.body.dataset.updates = 1 + Number(document.body.dataset.updates || 0);
  say(selects ? "live, held while text is selected" : "live", true);
});
events.onerror = () => say("connection lost, trying again", false);
