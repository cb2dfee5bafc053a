<?php

use App\Http\Controllers\TrainingController;
use Illuminate\Support\Facades\Route;

Route::get('/jobs', [TrainingController::class, 'index'])->name('jobs');
Route::post('/jobs', [TrainingController::class, 'store'])->name('jobs.store');
Route::get('/jobs/{job}', [TrainingController::class, 'show'])->name('jobs.show');
Route::get('/jobs/{job}/live', [TrainingController::class, 'live'])->name('jobs.live');
Route::get('/jobs/{job}/adapter', [TrainingController::class, 'adapter'])->name('jobs.adapter');
