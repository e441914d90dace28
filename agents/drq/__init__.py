"""DrQ: soft actor-critic from pixels with random shifts, and skills of DIAYN."""
