"use strict";
const link = document.getElementById("link");
const say = (text, ok) => { link.textContent = text; link.className = ok ? "ok" : "lost"; };
const events = new EventSource("/events");
events.addEventListener("page", (message) => {
  const parts = JSON.parse(message.data);
  const selection = getSelection();
  if (selection && !selection.isCollapsed) { say("live, held while text is selected", true); return; }
  for (const id in parts) {
    const place = document.getElementById(id);
    if (place && place.innerHTML !== parts[id]) { place.innerHTML = parts[id]; }
  }
  say("live", true);
});
events.onerror = () => say("connection lost, trying again", false);
