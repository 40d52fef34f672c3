"""Knowledge distillation of a teacher's ODE trajectories, for distill."""
