// Plays sound that is still being made: buffers that begin exactly where the one before ends.  If
// there is not enough, it waits until the rest can be played without a gap.

const LEAST_S = 0.3; // of sound, before it begins
const MOST_WAIT_S = 30; // of sound, before it goes on, however slow the computer is
const SCHEDULED_S = 3; // ahead of what is heard
const LEAD_S = 0.06; // until the first buffer begins
const SPEED_MARGIN = 1.15; // how much faster than it plays sound must be made to be played at once

class Speaker {
  // changed: what is called when it waits or plays on; ended: when it has come to the end.
  constructor(rate, changed, ended) {
    Object.assign(this, { rate, changed, ended });
    this.timer = null; // null: it does not play
    this.heard = 0; // in samples, where it stopped or waits
  }

  get isPlaying() {
    return this.timer !== null;
  }

  get isWaiting() {
    return this.isPlaying && this.origin === null;
  }

  // When a sample is heard, by the clock of the context; `origin` is the time of sample 0.
  timeOf(sample) {
    return this.origin + sample / this.rate;
  }

  // The sample that is heard.
  get place() {
    if (!this.isPlaying || this.origin === null) return this.heard;
    const now = (this.context.currentTime - this.origin) * this.rate;
    return Math.min(Math.max(now, this.heard), this.next);
  }

  // run: { pieces, made, wanted, speed }; from: in samples.
  play(run, from) {
    this.stop();
    this.context ??= new AudioContext({ sampleRate: this.rate });
    this.context.resume();
    this.gain = new GainNode(this.context);
    this.gain.connect(this.context.destination);
    this.run = run;
    this.heard = this.next = from;
    this.origin = null;
    this.timer = setInterval(() => this.feed(), 100);
    this.feed();
  }

  stop() {
    if (!this.isPlaying) return;
    this.heard = Math.round(this.place);
    clearInterval(this.timer);
    this.timer = null;
    const { gain, context } = this;
    gain.gain.setTargetAtTime(0, context.currentTime, 0.01); // without a click
    setTimeout(() => gain.disconnect(), 200);
  }

  // Schedules what is there.
  feed() {
    if (!this.isPlaying) return;
    const { run, context } = this;
    const soon = context.currentTime + 0.01;
    const end = Math.min(run.made, run.wanted);
    if (this.origin !== null && soon >= this.timeOf(this.next)) {
      if (this.next >= run.wanted) {
        if (context.currentTime < this.timeOf(this.next)) return;
        this.stop();
        this.ended();
        return;
      }
      this.heard = this.next;
      this.origin = null;
      this.changed();
    }
    if (this.origin === null) {
      if (end < run.wanted && end - this.next < this.needed() * this.rate) return;
      const frame = Math.ceil((soon + LEAD_S) * this.rate);
      this.origin = (frame - this.next) / this.rate;
      this.changed();
    }
    const until = Math.min(end, (context.currentTime + SCHEDULED_S - this.origin) * this.rate);
    while (this.next < until) this.schedule(end);
  }

  schedule(end) {
    const { context, run, rate, next } = this;
    const { at, sound } = run.pieces.findLast((piece) => piece.at <= next);
    const part = sound.subarray(next - at, end - at);
    const buffer = new AudioBuffer({ length: part.length, sampleRate: rate });
    buffer.copyToChannel(part, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(this.gain);
    source.start(this.timeOf(next));
    this.next += part.length;
  }

  // The seconds of sound that must be there before it begins, so that the rest is made in time.
  needed() {
    const { run, rate, next } = this;
    const late = 1 - run.speed / SPEED_MARGIN; // share of the rest that is not made while it plays
    return Math.min(Math.max(LEAST_S, ((run.wanted - next) / rate) * late), MOST_WAIT_S);
  }
}
