// Pictures of one moment, asked for by address: those that cannot change are kept, so that a slider that goes back and forth asks
// once, and the next of a film is asked for before its turn.
const MOST = 96; // kept, oldest first to go; each is as large as a tick

export class Frames {
  constructor() {
    this.kept = new Map(); // query -> promise of {body} or {detail}
    this.asked = 0; // of the server, since start
  }

  // {body} or {detail} of what these parameters ask for; lasting: it is the same for ever.
  get(params, lasting) {
    const query = String(new URLSearchParams(params));
    const known = this.kept.get(query);
    if (known) {
      this.kept.delete(query); // it is the newest now
      this.kept.set(query, known);
      return known;
    }
    const answer = this.fetched(query);
    if (!lasting) return answer;
    this.kept.set(query, answer);
    answer.then(({ body }) => body || this.kept.delete(query));
    if (this.kept.size > MOST) this.kept.delete(this.kept.keys().next().value);
    return answer;
  }

  async fetched(query) {
    this.asked++;
    const answer = await fetch(`/api/v1/scene/frame?${query}`).catch(() => null);
    if (answer?.ok) return { body: await answer.arrayBuffer() };
    return { detail: answer ? (await answer.json().catch(() => ({}))).detail || "" : null };
  }
}
