// What Turbo 8 needs and Chrome 66 lacks: an application that has such users brings it along.

Array.prototype.flatMap ||= function (make) {
  return [].concat(...this.map(make));
};
